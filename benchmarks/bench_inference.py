"""How long inference takes: ``python benchmarks/bench_inference.py`` writes results.json.

In this process, without its start and the reading of files: a decode step of a 70B model on eight
ranks, and a prompt with a thousand tokens behind it. Whole commands: a thousand requests through a
replica of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
from time import perf_counter
from typing import Any

from bench_scale import RESULTS

from tspsim.runner import simulate_scenario
from tspsim.scenario import load

DECODE = "llama3-70b-decode-h100-tsp"
GENERATE = "workload={phase: generate, prompt: 8192, new_tokens: 1000, batch: 16}"
SERVE = ("--arrivals", "4/s", "--prompt", "lognormal:1024:0.8", "--new-tokens", "lognormal:256:0.6")
TP = "strategy={kind: tp, degree: 8}"
REPEATS = 5


def simulated(*overrides: str) -> dict[str, float]:
    """Return the best seconds of simulating a scenario again and again, and what it says."""
    scenario = load(DECODE, overrides)
    seconds = []
    for _ in range(REPEATS):
        begin = perf_counter()
        run = simulate_scenario(scenario)
        seconds.append(perf_counter() - begin)
    found = run.summary.inference
    assert found is not None
    return {"seconds": round(min(seconds), 3), "latency": found.latency}


def served() -> dict[str, Any]:
    """Return the seconds of serving a thousand requests, start included, and how many steps."""
    command = [sys.executable, "-m", "tspsim", "serve", DECODE, TP, *SERVE, "--json"]
    begin = perf_counter()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    steps = json.loads(done.stdout)["steps"]
    return {
        "seconds": round(perf_counter() - begin, 1),
        "steps": steps["count"],
        "played": steps["played"],
        "error": steps["error"],
    }


def main() -> None:
    """Measure, print, and write results.json."""
    found = {"decode": simulated(), "decode_tp": simulated(TP), "generate": simulated(GENERATE)}
    found["serve"] = served()
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(old | {"inference": found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
