"""How fast single sends are simulated: ``python benchmarks/bench_sends.py`` adds to results.json.

A ring all-reduce of 1 GiB on 1,024 ranks has 2,095,104 sends. They are played by tspsim, one flow
each, and by a bare loop over `heapq` that only takes the next send from a heap and puts the one
that follows it there. Simulated times are held against the closed form and against two
other simulators' (published/ring_simulators.csv), for all sizes in that file.
"""

from __future__ import annotations

import csv
import heapq
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from bench import RESULTS, ROOT, median_seconds

RANKS, BYTES = 1024, 2**30
BANDWIDTH, LATENCY = 53.6870912e9, 500e-9
SENDS = 2 * (RANKS - 1) * RANKS
PUBLISHED = ROOT / "published" / "ring_simulators.csv"


def bare_loop() -> float:
    """Return the simulated seconds of the same sends from a heap and nothing else."""
    lasts = BYTES / RANKS / BANDWIDTH + LATENCY
    push, pop = heapq.heappush, heapq.heappop
    heap = [(lasts, member) for member in range(RANKS)]
    now = 0.0
    for _ in range(SENDS - RANKS):
        now, member = pop(heap)
        push(heap, (now + lasts, (member + 1) % RANKS))
    while heap:
        now, _ = pop(heap)
    return now


def player(detail: str, ranks: int) -> Callable[[], float]:
    """Return what plays the all-reduce on its ring and gives the simulated seconds."""
    from tspsim.engine.alone import play_alone
    from tspsim.engine.network.model import NetworkModel
    from tspsim.program.types import Message
    from tspsim.registry import COLLECTIVES
    from tspsim.topology.load import load

    COLLECTIVES.names()  # imports all algorithms: no part of the simulation
    link = {"bandwidth": f"{BANDWIDTH} B/s", "latency": f"{LATENCY} s"}
    topology = load({"kind": "ring", "ranks": ranks, "link": link, "device": "h100-sxm"})
    message, members = Message("all_reduce", BYTES), range(ranks)
    network = NetworkModel(detail)  # type: ignore[arg-type]
    return lambda: play_alone(message, members, topology, "ring", network)


WORK: dict[str, Callable[[], Callable[[], float]]] = {
    "heapq": lambda: bare_loop,
    "steps": lambda: player("steps", RANKS),
    "coflow": lambda: player("coflow", RANKS),
}


def measured(*arguments: str) -> dict[str, float]:
    """Return seconds and peak megabytes of one kind of work, in a process of its own."""
    begin = perf_counter()
    run = subprocess.Popen([sys.executable, __file__, *arguments], stdout=subprocess.PIPE)
    assert run.stdout is not None
    answer: dict[str, float] = json.loads(run.stdout.read())
    _, status, usage = os.wait4(run.pid, 0)
    run.returncode = os.waitstatus_to_exitcode(status)
    assert run.returncode == 0, arguments
    megabytes = usage.ru_maxrss / (1 if sys.platform == "darwin" else 1024)
    return {**answer, "megabytes": megabytes, "process_seconds": perf_counter() - begin}


def child(name: str, repeats: int) -> None:
    """Do one kind of work; print its first and its median wall time and the simulated time."""
    work = WORK[name]()
    begin = perf_counter()
    simulated = work()
    first = perf_counter() - begin
    seconds = median_seconds(work, repeats) if repeats else first
    print(json.dumps({"first_seconds": first, "seconds": seconds, "simulated": simulated}))


def compared() -> list[dict[str, float]]:
    """Return, by number of ranks, how far other results are from tspsim's, relative to it."""
    lines = [line for line in PUBLISHED.read_text().splitlines() if not line.startswith("#")]
    rows = []
    for row in csv.DictReader(lines):
        ranks = int(row["ranks"])
        ours = player("steps", ranks)()
        columns = ("closed_form_ns", "simgrid_ns", "astra_1chunk_ns")
        off = {name.removesuffix("_ns"): float(row[name]) * 1e-9 / ours - 1 for name in columns}
        assert abs(off["closed_form"]) < 1e-6, row
        assert max(abs(off["simgrid"]), abs(off["astra_1chunk"])) < 5e-4, row
        rows.append({"ranks": ranks, **{name: float(f"{x:.2g}") for name, x in off.items()}})
    return rows


def main() -> None:
    """Measure everything, print it and write it into results.json under ``sends``."""
    found = {name: measured(name, "3" if name == "coflow" else "0") for name in WORK}
    steps, bare, coflow = (found[name] for name in ("steps", "heapq", "coflow"))
    again = measured("steps", "3")
    for figures in found.values():
        assert abs(figures["simulated"] / steps["simulated"] - 1) < 1e-6, found
    results: dict[str, Any] = {
        "ranks": RANKS,
        "sends": SENDS,
        "heapq_seconds": round(bare["seconds"], 2),
        "steps_seconds": round(steps["seconds"], 2),
        "steps_over_heapq": round(steps["seconds"] / bare["seconds"], 2),
        "steps_again_seconds": round(again["seconds"], 2),
        "steps_process_seconds": round(steps["process_seconds"], 2),
        "steps_megabytes": round(steps["megabytes"]),
        "coflow_milliseconds": round(1e3 * coflow["first_seconds"], 2),
        "coflow_again_milliseconds": round(1e3 * coflow["seconds"], 2),
        "simulated_seconds": float(f"{steps['simulated']:.9g}"),
        "others_over_tspsim_minus_1": compared(),
    }
    everything = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    everything["sends"] = results
    RESULTS.write_text(json.dumps(everything, indent=2) + "\n")
    print(json.dumps(results, indent=2))


if __name__ == "__main__":
    if sys.argv[1:]:
        child(sys.argv[1], int(sys.argv[2]))
    else:
        main()
