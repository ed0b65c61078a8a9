"""How fast a sweep is: ``python benchmarks/bench_sweep.py`` writes its part of results.json.

A thousand points of one TSP training step (8 ranks, 32 layers, full recomputation): 20 sequence
lengths x 50 link bandwidths, in two processes. Beside it, what the sweep itself takes for a point:
the same thousand points with a worker that answers at once; and what a single point takes, part by
part, in this process. ``--points N`` runs fewer of them.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import tempfile
from concurrent.futures import Future
from pathlib import Path
from time import perf_counter
from typing import Any

from tspsim.runner import simulate_scenario
from tspsim.scenario import load
from tspsim.sweeps import crew, run
from tspsim.sweeps import study as studies
from tspsim.sweeps.points import Point, points
from tspsim.sweeps.store import Store
from tspsim.sweeps.study import Study
from tspsim.sweeps.work import Outcome, Report

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.json")
SCENARIO = ROOT / "scenarios" / "paper-memory-tsp.yaml"
AXES = ("workload.sequence=range(16384,335872,16384)", "link.bandwidth=log(16 GB/s,1 TB/s,50)")
PROCESSES = 2


class Instant(crew.Alone):
    """A crew whose work takes no time: what is left is the sweep's own."""

    def submit(self, batch: crew.Batch) -> Future[Report]:
        """Answer at once, with as many figures as a run has."""
        future: Future[Report] = Future()
        figures = {f"figure.{i}": float(i) for i in range(28)}
        outcomes = (Outcome(point, "ok", "", "0" * 64, figures) for point, _ in batch)
        future.set_result(Report(tuple(outcomes), 1e-6 * len(batch)))
        return future


class Watched(crew.Local):
    """Local processes, and the seconds that they spent on points."""

    def __init__(self, jobs: int) -> None:
        super().__init__(jobs)
        self.busy = 0.0

    def submit(self, batch: crew.Batch) -> Future[Report]:
        """Start a batch, and add up what it takes."""
        future = super().submit(batch)
        future.add_done_callback(self._add)
        return future

    def _add(self, future: Future[Report]) -> None:
        self.busy += future.result().seconds


def timed(study: Study, found: list[Point], workers: Any) -> float:
    """Return the seconds that a sweep of some points takes, on disk."""
    with tempfile.TemporaryDirectory() as folder:
        store = Store.create(Path(folder) / "out", study.document(), len(found), "bench")
        begin = perf_counter()
        run.drive(study, found, store, workers)
        seconds = perf_counter() - begin
        assert store.statuses().get("failed", 0) == 0
        assert len(store) == len(found)
        store.close()
    return seconds


def megabytes(who: int) -> float:
    """Return the largest peak memory of this process, or of one of its children, in MB."""
    return resource.getrusage(who).ru_maxrss / 1024


def cpu_seconds() -> float:
    """Return the seconds of CPU that the processes took: what another load does not change."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def parts() -> dict[str, float]:
    """Return the milliseconds of one point by part: the best of several, programs not kept.

    ``simulate`` and ``memory`` find the program laid out where only the hardware differs from the
    point before; ``first`` is the whole of a point whose program is new.
    """
    scenario = load(SCENARIO)
    fastest: dict[str, float] = {}
    for _ in range(5):
        programs = None
        for name in ("first", "next"):
            begin = perf_counter()
            result = simulate_scenario(scenario, programs=programs)
            walls = {name: perf_counter() - begin}
            if programs is None:
                walls["record"] = dict(result.provenance.wall_seconds)["record"]
            else:
                walls |= dict(result.provenance.wall_seconds[1:])
            fastest |= {part: min(fastest.get(part, s), s) for part, s in walls.items()}
            programs = result.timeline.programs
    return {part: round(1e3 * seconds, 1) for part, seconds in fastest.items()}


def main() -> None:
    """Measure, print, and write the figures under ``sweep`` in results.json."""
    parser = argparse.ArgumentParser(description="Measure a sweep of a thousand points.")
    parser.add_argument("--points", type=int, default=1000)
    count = parser.parse_args().points
    study = studies.load(SCENARIO, [studies.parse_axis(text) for text in AXES])
    # Every so many of the grid, so that fewer points are still of all lengths and bandwidths.
    whole = points(study)
    found = whole[:: max(len(whole) // count, 1)][:count]
    own = timed(study, found, Instant)
    workers = Watched(PROCESSES)
    seconds = timed(study, found, lambda: workers)
    figures = {
        "points": len(found),
        "processes": PROCESSES,
        "seconds": round(seconds, 1),
        "points_per_second": round(len(found) / seconds, 2),
        "cpu_seconds": round(cpu_seconds(), 1),
        "busy_share": round(workers.busy / (PROCESSES * seconds), 3),
        "point_milliseconds": parts(),
        "own_milliseconds_per_point": round(1e3 * own / len(found), 3),
        "process_megabytes": round(megabytes(resource.RUSAGE_CHILDREN)),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    RESULTS.write_text(json.dumps({**results, "sweep": figures}, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
