"""Timelines of tiny steps, as text that a reviewer can read: one span of rank 0 per line.

After a change that is meant to move times: ``TSPSIM_UPDATE_GOLDEN=1 pytest tests/test_golden.py``,
then read the difference.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

import tspsim

GOLDEN = Path(__file__).parent / "golden"

#: One layer, two ranks, round numbers: 1 Tflop/s, 1 TB/s of memory, 10 GB/s and 1 us per link.
BASE: dict[str, Any] = {
    "name": "golden",
    "kernels": "ideal",
    "model": {
        "hidden": 64, "layers": 1, "heads": 4, "kv_heads": 2, "ffn": 128, "vocab": 0,
        "mlp": "gated", "norm": "rmsnorm",
    },
    "workload": {"sequence": 256, "batch": 1, "phase": "forward", "dtype": "bf16"},
    "topology": {
        "kind": "full",
        "ranks": 2,
        "link": {"bandwidth": "10 GB/s", "latency": "1 us"},
        "device": {
            "name": "round",
            "flop_rate": {"bf16": "1 TFLOP/s"},
            "memory_bandwidth": "1 TB/s",
            "memory": "1 GiB",
        },
    },
}  # fmt: skip

CASES = {
    "tsp-forward": ["strategy={kind: tsp, degree: 2}"],
    "tsp-forward-lookahead-0": ["strategy={kind: tsp, degree: 2, lookahead: 0}"],
    "tp-train": ["strategy={kind: tp, degree: 2}", "workload.phase=train"],
    "tp-scattered-train": [
        "strategy={kind: tp, degree: 2, sequence_parallel: true}",
        "workload.phase=train",
    ],
    "sp-usp-forward": [
        "strategy={kind: sp, degree: 4, kv: usp, ulysses_degree: 2}",
        "topology.ranks=4",
    ],
    "sp-ring-forward": ["strategy={kind: sp, degree: 2, kv: ring}"],
    "sp-ulysses-forward": ["strategy={kind: sp, degree: 2, kv: ulysses}"],
    "tp-sp-forward": [
        "strategy={kind: tp_sp, tp: 2, sp: 2, sequence_parallel: true}",
        "topology.ranks=4",
    ],
    "contiguous-forward": ["strategy={kind: sp, degree: 2}", "workload.causal=contiguous"],
}


def timeline(overrides: list[str]) -> str:
    """Return rank 0's spans, a line each: start and end in microseconds, lane, op."""
    result = tspsim.run(BASE, *overrides)
    lines = [f"step {result.timeline.step_time * 1e6:.3f} us"]
    for span in result.timeline.spans(0):
        times = f"{span.start * 1e6:10.3f} {span.end * 1e6:10.3f}"
        lines.append(f"{times}  {span.lane:<16}{span.op.name}: {span.op.kind.text()}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", CASES)
def test_a_tiny_step_has_the_timeline_on_file(name: str) -> None:
    """Every start and end of rank 0, to a nanosecond."""
    path = GOLDEN / f"{name}.txt"
    found = timeline(CASES[name])
    if os.environ.get("TSPSIM_UPDATE_GOLDEN"):
        path.write_text(found, encoding="utf-8")
    assert found == path.read_text(encoding="utf-8")
    assert found.count("\n") <= 60
