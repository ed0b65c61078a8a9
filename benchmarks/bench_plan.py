"""How fast a plan is: ``python benchmarks/bench_plan.py`` writes its part of results.json.

Llama-3-70B at 32,768 tokens on 64 H100, eight sequences a step, in two processes: what
``tspsim plan --model llama-3-70b --topology h100-32-nodes-rail-optimised --sequence 32768
topology.nodes=8`` does.
"""

from __future__ import annotations

import json
import os
import resource
from pathlib import Path
from time import perf_counter

from tspsim.plan.question import ask
from tspsim.plan.search import plan
from tspsim.scenario.loader import Opened

RESULTS = Path(__file__).with_name("results.json")
SCENARIO = {
    "name": "llama-3-70b",
    "model": {"hf": "llama-3-70b"},
    "workload": {"sequence": 32768},
    "topology": {"file": "h100-32-nodes-rail-optimised", "nodes": 8},
}
PROCESSES = 2


def main() -> None:
    """Measure, print, and write the figures under ``plan`` in results.json."""
    begin = perf_counter()
    answer = plan(ask(Opened.document(SCENARIO).data(), {}), jobs=PROCESSES)
    seconds = perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    tightness = [ranked.bound.seconds / ranked.figures["step_time"] for ranked in answer.best]
    figures = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(used.ru_utime + used.ru_stime, 1),
        "processes": PROCESSES,
        "candidates": answer.counts.candidates,
        "simulated": answer.counts.simulated,
        "bound_over_step_time": [round(min(tightness), 3), round(max(tightness), 3)],
        "process_megabytes": round(used.ru_maxrss / 1024),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
    }
    results = json.loads(RESULTS.read_text(encoding="utf-8"))
    RESULTS.write_text(json.dumps({**results, "plan": figures}, indent=2) + "\n")
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
