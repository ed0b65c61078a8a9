"""How simulation scales: ``python benchmarks/bench_scale.py`` writes its part of results.json.

Whole commands, from a YAML file to the result, in processes of their own: the paper's 1,024 devices
folded and (unless ``--quick``) rank by rank, other layouts at that scale, 16,384 devices, and GPT-3
175B on eight; Llama 3 70B under TSP-64 on two clusters and on a torus, where it folds. Then time
against layers, and against ranks that are all simulated, as a picture.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).with_name("results.json")
PICTURE = ROOT / "docs" / "images" / "scaling.png"
TRAIN = "workload.phase=train"
CASES = {
    "tsp_1024": ("paper-1024", TRAIN),
    "tp_sp_1024": ("paper-1024-tp4-sp2", TRAIN),
    "sp_1024": ("paper-1024", TRAIN, "strategy={kind: sp, degree: 8, dp: 128}"),
    "tsp_16384": ("paper-1024", TRAIN, "topology.nodes=2048", "strategy.dp=2048"),
    "gpt3_175b": ("gpt3-175b-tp8",),
    "gpt3_175b_all_ranks": ("gpt3-175b-tp8", "engine.fold=off"),
}
#: 64 ranks, 80 layers, one training step: every message of every layer has another root.
TSP_64 = ("llama3-8b-128k-h100-tsp", TRAIN, "model={hf: models/llama-3-70b/config.json}",
          "strategy={kind: tsp, degree: 64, replicate_kv_heads: true}")  # fmt: skip
WIDE = {
    "tsp_64_h100": "topology={file: h100-32-nodes-rail-optimised.yaml, nodes: 8}",
    "tsp_64_mi300x": "topology={file: mi300x-128-nodes-rails.yaml, nodes: 8}",
    "tsp_64_torus": "topology={file: tpu-v4-cube.yaml}",
}
WHOLE = ("paper-1024", TRAIN, "engine.fold=off")
LAYERS = (8, 16, 32, 64, 128)
NODES = (2, 4, 8, 16, 32)


class Measured(NamedTuple):
    """Wall seconds, peak memory (MB), the result of a command, and its seconds of a processor."""

    seconds: float
    megabytes: float
    result: dict[str, Any]
    cpu: float


def run(scenario: str, *overrides: str) -> Measured:
    """Return what ``tspsim run --json`` takes and prints."""
    arguments = [sys.executable, "-m", "tspsim", "run", f"{ROOT}/scenarios/{scenario}.yaml"]
    begin = perf_counter()
    process = subprocess.Popen([*arguments, *overrides, "--json"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    text = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, (scenario, *overrides)
    scale = 1 if sys.platform == "darwin" else 1024
    seconds, cpu = perf_counter() - begin, usage.ru_utime + usage.ru_stime
    return Measured(seconds, usage.ru_maxrss / scale, json.loads(text), cpu)


def best(*arguments: str, repeats: int = 3) -> Measured:
    """Return the fastest of several runs: what others do on the machine only slows down."""
    return min((run(*arguments) for _ in range(repeats)), key=lambda measured: measured.seconds)


def figures(quick: bool) -> dict[str, Any]:
    """Return seconds and megabytes of every case."""
    found: dict[str, Any] = {}
    for name, arguments in CASES.items():
        measured = best(*arguments)
        found[name] = {
            "seconds": round(measured.seconds, 2),
            "megabytes": round(measured.megabytes),
        }
    if quick:
        return found
    for name, topology in WIDE.items():
        wide = run(*TSP_64, topology)
        found[name] = {
            "seconds": round(wide.seconds, 1),
            "megabytes": round(wide.megabytes),
            "ops": wide.result["engine"]["tasks"],
        }
    folded, whole = run("paper-1024", TRAIN), run(*WHOLE)
    assert folded.result["step_time"] == whole.result["step_time"]
    assert folded.result["memory"] == whole.result["memory"]
    engine = whole.result["engine"]
    found["tsp_1024_all_ranks"] = {
        "seconds": round(whole.seconds, 1),
        "megabytes": round(whole.megabytes),
        "ops": engine["tasks"],
        "ops_per_second": round(engine["tasks"] / engine["wall_seconds"]),
    }
    return found


def curves() -> dict[str, list[tuple[int, float]]]:
    """Return engine seconds against layers, and against ranks that are all simulated."""

    def engine(*overrides: str) -> float:
        found = best("paper-1024", TRAIN, *overrides, repeats=2)
        return float(found.result["engine"]["wall_seconds"])

    one_node = ("topology.nodes=1", "strategy.dp=1")
    ranks = [(8 * n, ("engine.fold=off", f"topology.nodes={n}", f"strategy.dp={n}")) for n in NODES]
    return {
        "layers": [(n, engine(f"model.layers={n}", *one_node)) for n in LAYERS],
        "ranks": [(n, engine("model.layers=8", *overrides)) for n, overrides in ranks],
    }


def draw(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    """Draw the curves beside the straight lines through their last points."""
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    from tspsim.output.plots.ticks import plain_ticks

    figure = Figure(figsize=(9, 3.6), layout="constrained")
    titles = {"layers": "layers (8 ranks)", "ranks": "simulated ranks (8 layers)"}
    panels = figure.subplots(1, 2, sharey=True)
    for axes, (name, points) in zip(panels, found.items(), strict=True):
        x, y = zip(*points, strict=True)
        axes.loglog(x, y, "o", color="#0072B2", label="measured")
        axes.loglog(x, [y[-1] * n / x[-1] for n in x], "--", color="#888888", label="linear")
        axes.set_xlabel(titles[name])
        axes.set_ylabel("time of the engine [s]")
        axes.set_xticks(x, [str(n) for n in x], minor=False)
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.minorticks_off()
        plain_ticks(axes.yaxis)
        axes.legend()
    figure.suptitle("Time to simulate one TSP training step")
    figure.savefig(path, dpi=130)


def main() -> None:
    """Measure, print, and write results.json and the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the long runs")
    quick = parser.parse_args().quick
    found = figures(quick)
    if not quick:
        found["curves"] = curves()
        draw(found["curves"], PICTURE)
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(old | {"scale": found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
