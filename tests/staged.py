"""Runs of small pipelines on devices where nothing takes time but matrix products."""

from __future__ import annotations

from functools import cache
from typing import Any

from tspsim.runner import Run, run
from tspsim.schedules.parts.base import Size

#: Memory and links are as good as endless.
FREE: dict[str, Any] = {
    "name": "free",
    "kind": "full",
    "device": {
        "name": "d", "flop_rate": {"bf16": "1 GFLOP/s"}, "memory_bandwidth": "1e5 TB/s",
        "memory": "80 GiB",
    },
    "link": {"bandwidth": "1e5 TB/s", "latency": "0 s"},
}  # fmt: skip


def document(
    schedule: str, size: Size, kind: str = "tp", degree: int = 1, **pp: Any
) -> dict[str, Any]:
    """Return a scenario of equal stages, a layer each."""
    return {
        "name": "staged",
        "model": {"hidden": 512, "layers": size.ranks * size.chunks, "heads": 4, "kv_heads": 4,
                  "ffn": 2048, "vocab": 0},
        "workload": {"sequence": 512, "micro_batches": size.microbatches, "phase": "train"},
        "topology": {**FREE, "ranks": size.ranks * degree},
        "strategy": {"kind": kind, "degree": degree,
                     "pp": {"stages": size.ranks, "schedule": schedule, "chunks": size.chunks,
                            **pp}},
        "kernels": "ideal",
        "timing": {"profile": "datasheet"},
    }  # fmt: skip


@cache
def staged(schedule: str, size: Size, *overrides: str, **more: Any) -> Run:
    """Return the run of such a scenario."""
    return run(document(schedule, size, **more), *overrides)
