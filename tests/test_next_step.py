"""A step that does not fit is answered with what to type next, and typing that helps."""

from __future__ import annotations

import re
from typing import Any

import pytest

import tspsim
from tspsim.output.casts import casts
from tspsim.output.next_step import next_step

NODE = {
    "kind": "ring", "ranks": 2, "device": "h100-sxm",
    "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
}  # fmt: skip
SMALL: dict[str, Any] = {
    "name": "small",
    "kernels": "ideal",
    "timing": {"profile": "datasheet"},
    "memory": {"reserved": "0 B", "blas": "0 B", "communicator": "0 B"},
    "model": {"hidden": 256, "layers": 4, "heads": 8, "kv_heads": 4, "ffn": 512, "vocab": 0},
    "workload": {"sequence": 64, "phase": "train"},
    "topology": {
        "kind": "nodes", "nodes": 2, "node": NODE,
        "nic": {"bandwidth": "400 Gbit/s", "latency": "4 us"},
    },
    "strategy": {"kind": "tsp", "degree": 2, "dp": 2},
}  # fmt: skip

#: Bytes that a parameter takes: of its weight, gradient and states. The model has 2.25 Mi.
PARAMETER = 18
DECODE = ("workload={phase: decode, cached: 4096, batch: 40}",)


@pytest.mark.parametrize(
    ("changes", "memory", "told"),
    [
        ((), 18, "strategy.zero=1 shares out"),
        ((), 7, "one copy of the weights, gradients and optimizer states is"),
        (DECODE, 64, "fewer sequences: workload.batch="),
    ],
    ids=["zero", "devices", "sequences"],
)
def test_what_is_said_to_help_helps(changes: tuple[str, ...], memory: int, told: str) -> None:
    """Sharing states or fewer sequences fit; of too few devices it is told how many it takes."""
    device = f"topology.node.device={{file: h100-sxm, memory: {memory} MiB}}"
    result = tspsim.run(SMALL, *changes, device)
    assert not result.fits
    said = next_step(result)
    assert said.startswith(told)
    change = re.findall(r"(?:strategy|workload)\.\w+=\d+", said)
    assert tspsim.run(SMALL, *changes, device, *change).fits == bool(change)
    if not change:
        needed = -(-result.scenario.model.parameters * PARAMETER // (memory * 2**20))
        assert f"takes {needed} such devices or more, not 4" in said
        assert said.endswith(f"tspsim plan SCENARIO topology.nodes={-(-needed // 2)}")


def test_without_an_easy_step_a_search_is_named() -> None:
    """One copy fits into all devices together, and nothing is left to share."""
    tight = ("workload.sequence=16384", "strategy.zero=3")
    device = "topology.node.device={file: h100-sxm, memory: 100 MiB}"
    assert next_step(tspsim.run(SMALL, *tight, device)).startswith("tspsim plan SCENARIO")


def test_inference_that_casts_its_weights_is_told_what_keeps_them_in_fp8() -> None:
    """What is said can be typed, is quicker, and nothing more is said of it; nor of training."""
    cast = tspsim.run(SMALL, *DECODE, "workload.linears=fp8")
    (told,) = casts(cast.scenario.workload)
    kept = tspsim.run(SMALL, *DECODE, told[told.index("workload.weights=") :])
    assert kept.summary.step_time < cast.summary.step_time
    assert not casts(kept.scenario.workload)
    assert not casts(tspsim.run(SMALL, "workload.linears=fp8").scenario.workload)
