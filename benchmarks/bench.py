"""The speed figures that the README quotes: ``python benchmarks/bench.py`` writes results.json.

Every figure is the median of several runs in one process (or of several processes, for whole
commands). Machines differ and are noisy: compare ratios, and figures from one run.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
SCENARIO = ROOT / "scenarios" / "paper-memory-tsp.yaml"
RESULTS = Path(__file__).with_name("results.json")
REPEATS = 7


def median_seconds(work: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Return the median wall time of some work, after one run to warm up."""
    work()
    times = []
    for _ in range(repeats):
        begin = perf_counter()
        work()
        times.append(perf_counter() - begin)
    return statistics.median(times)


def engine() -> dict[str, float]:
    """Return how fast a TSP training step (D=8, 32 layers) is recorded and simulated."""
    from tspsim.engine.simulate import Setup, simulate
    from tspsim.scenario import load

    s = load(SCENARIO)
    mesh = s.strategy.mesh()
    programs = s.strategy.record(s.model, s.workload, s.optimizer)
    tasks = sum(len(programs.of(rank).ops) for rank in range(mesh.ranks))
    record = median_seconds(lambda: s.strategy.record(s.model, s.workload, s.optimizer))
    # Every rank is played: what the engine does per task, not what folding saves.
    setup = Setup(programs, mesh, s.topology, s.workload.dtype, folds=False)
    play = median_seconds(lambda: simulate(setup))
    return {
        "tasks": tasks,
        "record_seconds": record,
        "simulate_seconds": play,
        "engine_ops_per_second": tasks / play,
        "record_over_simulate": record / play,
    }


def command(*arguments: str, repeats: int = 3) -> tuple[float, float]:
    """Return the median wall seconds and the largest peak memory (MB) of a tspsim command."""
    times, peaks = [], []
    for _ in range(repeats):
        begin = perf_counter()
        run = subprocess.Popen([sys.executable, "-m", "tspsim", *arguments], stdout=subprocess.PIPE)
        assert run.stdout is not None
        run.stdout.read()
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
        assert run.returncode == 0, arguments
        times.append(perf_counter() - begin)
        peaks.append(usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024))
    return statistics.median(times), max(peaks)


def main() -> None:
    """Measure everything, print it and write results.json."""
    with tempfile.TemporaryDirectory() as folder:
        run_seconds, run_megabytes = command("run", str(SCENARIO), "-o", f"{folder}/out")
    help_seconds, _ = command("--help", repeats=7)
    results = {
        **{name: float(f"{value:.4g}") for name, value in engine().items()},
        "run_seconds": round(run_seconds, 2),
        "run_megabytes": round(run_megabytes),
        "help_seconds": round(help_seconds, 3),
        "python": platform.python_version(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "own_peak_megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    others = {key: value for key, value in old.items() if isinstance(value, dict)}
    RESULTS.write_text(json.dumps(results | others, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
