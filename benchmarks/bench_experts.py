"""How long large mixtures and their pictures take: ``python benchmarks/bench_experts.py``.

Seconds of processor, in this process: Mixtral 8x7B under skewed routing, of which every rank is
played; DeepSeek-V3 on 2,048 devices, of which ranks that do the same are played once; and whole
training steps drawn as gantt charts. Writes results.json.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from time import process_time
from typing import Any

from bench_scale import RESULTS

import tspsim
from tspsim.output.pictures import draw

MIXTRAL = "mixtral-8x7b-32k-h100-tsp"
SKEWED = "workload.routing={kind: power_law, exponent: 0.5}"
LARGE: dict[str, Any] = {
    "name": "deepseek-v3",
    "model": {"hf": "deepseek-v3"},
    "workload": {"sequence": 4096, "recompute": "full"},
    "topology": {"file": "h100-4-nodes.yaml", "nodes": 256},
    "strategy": {
        "kind": "fsdp", "dp": 128, "zero": 1,
        "pp": {"stages": 16, "schedule": "1f1b", "layers": [4] * 15 + [1]},
        "experts": {"layout": "tokens", "over": ["dp"], "degree": 64},
    },
}  # fmt: skip
DRAWN = ("llama3-8b-128k-h100-tsp", "paper-1024")


def played(source: Any, *changes: str) -> dict[str, float]:
    """Return what simulating takes, and how many ranks are played."""
    begin = process_time()
    result = tspsim.run(source, *changes)
    return {"seconds": round(process_time() - begin, 1), "played": len(result.timeline.played)}


def drawn(name: str) -> float:
    """Return the seconds of drawing the whole step of a shipped scenario."""
    result = tspsim.run(name)
    with tempfile.TemporaryDirectory() as folder:
        begin = process_time()
        whole = (0.0, result.timeline.step_time)
        draw("gantt", result, Path(folder) / "whole.png", window=whole)
        return round(process_time() - begin, 1)


def main() -> None:
    """Measure, print, and write results.json."""
    layouts = {
        layout: played(MIXTRAL, SKEWED, f"strategy.experts.layout={layout}")
        for layout in ("tokens", "ring")
    }
    found = {"mixtral": layouts, "deepseek_v3": played(LARGE)}
    found["gantt"] = {name: drawn(name) for name in DRAWN}
    old = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    RESULTS.write_text(json.dumps(old | {"experts": found}, indent=2) + "\n")
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
