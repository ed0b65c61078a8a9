"""Large mixtures: skewed ones are played rank by rank, balanced ones folded."""

from __future__ import annotations

from typing import Any

import pytest

import tspsim

MIXTRAL: dict[str, Any] = {
    "name": "mixtral-8x7b",
    "model": {
        "hidden": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "ffn": 14336, "vocab": 32000,
        "experts": {"count": 8, "active": 2},
    },
    "workload": {"sequence": 8192, "routing": {"kind": "power_law", "exponent": 0.5}},
    "topology": {"file": "h100-node.yaml"},
    "strategy": {"kind": "tsp", "degree": 8},
}  # fmt: skip

#: DeepSeek-V3 but for its attention, which is as wide here and has all heads in full.
LARGE: dict[str, Any] = {
    "name": "deepseek-v3-like",
    "model": {
        "hidden": 7168, "layers": 61, "heads": 128, "head_dim": 128, "ffn": 18432, "vocab": 129280,
        "experts": {
            "count": 256, "active": 8, "width": 2048, "shared": 2048, "first_dense": 3,
            "router": {"score": "sigmoid", "scale": 2.5, "groups": 8, "top_groups": 4},
        },
    },
    "workload": {"sequence": 4096, "recompute": "full"},
    "topology": {"file": "h100-4-nodes.yaml", "nodes": 256},
    "strategy": {
        "kind": "fsdp", "dp": 128, "zero": 1,
        "pp": {"stages": 16, "schedule": "1f1b", "layers": [4] * 15 + [1]},
        "experts": {"layout": "tokens", "over": ["dp"], "degree": 64},
    },
}  # fmt: skip


@pytest.mark.parametrize("layout", ["tokens", "ring"])
def test_mixtral_with_skewed_routing_is_played_on_every_rank(layout: str) -> None:
    """No two ranks have the same tokens: none stands for another."""
    result = tspsim.run(MIXTRAL, f"strategy.experts.layout={layout}")
    assert len(result.timeline.played) == 8
    assert result.summary.to_dict()["experts"]["experts"]["most"] > 1.4


def test_balanced_experts_over_replicas_are_folded() -> None:
    """2,048 devices: of every stage the ranks of one node are played."""
    result = tspsim.run(LARGE)
    assert result.timeline.mesh.ranks == 2048
    assert len(result.timeline.played) == 16 * 8
    found = result.summary.to_dict()["experts"]
    assert found["ranks"]["most"] == 1
    # Of the first stage's four layers, which fill most, one has experts: four of them on a rank.
    assert found["memory"]["weight"] == 2 * 4 * 3 * 7168 * 2048


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("over", ["dp", "tsp, dp"])
def test_folded_experts_take_the_same_time_as_all_ranks(over: str, zero: int) -> None:
    """To the last bit, with experts on blocks of replicas and stages beside them."""
    spread = f"experts: {{over: [{over}], degree: 4}}"
    strategy = (
        f"strategy={{kind: tsp, degree: 2, dp: 4, zero: {zero}, pp: {{stages: 2}}, {spread}}}"
    )
    changes = (
        "model.layers=4", "workload.sequence=1024", "workload.micro_batches=2", strategy,
        "topology={file: h100-4-nodes.yaml, nodes: 2}", "workload.routing=balanced",
    )  # fmt: skip
    folded = tspsim.run(MIXTRAL, *changes)
    every = tspsim.run(MIXTRAL, *changes, "engine.fold=off")
    assert len(folded.timeline.played) < len(every.timeline.played) == 16
    assert folded.summary.step_time == every.summary.step_time
    assert folded.memory.peak == every.memory.peak
