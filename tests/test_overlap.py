"""What travels while something is computed: the ops that hide a message, by their labels."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import tspsim
from tests.schedules import program
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Workload
from tspsim.program.types import Op, Program

MODEL = ModelShape(hidden=32, layers=2, heads=16, kv_heads=8, ffn=24, head_dim=4)
WORKLOAD = Workload(sequence=32, micro_batches=2)

#: One layer of 22B on eight A100 (Korthikanti et al., arXiv 2205.05198, table 4).
LAYER: dict[str, Any] = {
    "name": "layer",
    "kernels": "megatron-2022",
    "model": {
        "hidden": 6144, "layers": 1, "heads": 64, "kv_heads": 64, "ffn": 24576, "vocab": 0,
        "mlp": "plain", "norm": "layernorm", "attention_bias": True, "mlp_bias": True,
    },
    "workload": {"sequence": 2048, "batch": 4, "dtype": "fp16", "causal": "contiguous"},
    "topology": {"file": "a100-node.yaml"},
    "timing": {"profile": "a100-published"},
    "strategy": {"kind": "tp", "degree": 8},
}  # fmt: skip


def recorded(kind: str, **options: Any) -> Program:
    """Return the program of a strategy."""
    return program((kind, options), MODEL, WORKLOAD)[0]


def hiding(of: Program, message: Op) -> list[str]:
    """Return the compute ops between the issue of a message and the first that waits for it."""
    labels = []
    for op in of.ops[message.index + 1 :]:
        if message.index in of.waits[op.index]:
            break
        if op.lane == 0:
            labels.append(op.label)
    return labels


def messages(of: Program, label: str, phase: str = "backward") -> list[Op]:
    """Return the messages of a label in a phase."""
    return [op for op in of.ops if op.message and (op.label, op.phase) == (label, phase)]


# ---- TP ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("label", "behind"),
    [
        ("mlp.in", ["dx.gate", "dx.up"]),
        ("attention.in", ["dx.q", "dx.k", "dx.v"]),
        ("mlp.din", ["dgate", "dup"]),
        ("attention.din", ["dq", "dk", "dv"]),
    ],
)
def test_sequence_parallel_hides_gather_and_scatter_behind_a_matmul_each(label, behind) -> None:
    """The saved input comes again beside dX, and dX is scattered beside dW, as Megatron-LM does."""
    of = recorded("tp", degree=4, sequence_parallel=True)
    found = messages(of, label)
    assert found
    assert all(hiding(of, op) == behind for op in found)


@pytest.mark.parametrize("label", ["mlp.dout", "attention.dout"])
def test_a_row_parallel_linear_waits_for_its_output_gradient(label) -> None:
    """Nothing can be computed before all of it is there."""
    of = recorded("tp", degree=4, sequence_parallel=True)
    assert [hiding(of, op) for op in messages(of, label)] == [[]] * 4


@pytest.mark.parametrize("label", ["mlp.din", "attention.din"])
def test_the_all_reduce_of_an_input_gradient_is_hidden_behind_the_weight_gradients(label) -> None:
    """Without sequence_parallel too."""
    of = recorded("tp", degree=4)
    behind = ["dgate", "dup"] if label == "mlp.din" else ["dq", "dk", "dv"]
    assert all(hiding(of, op) == behind for op in messages(of, label))


@pytest.mark.parametrize("name", ["megatron-2022", "ideal"])
def test_autograd_recomputes_the_core_when_its_backward_is_there(name) -> None:
    """Behind the output projection's gradients, whose gather hides it no longer; ideal hides it."""
    workload = replace(WORKLOAD, recompute="selective", kernels=PRESETS[name])
    of, _ = program(("tp", {"degree": 4, "sequence_parallel": True}), MODEL, workload)
    core = "scores" if name == "megatron-2022" else "attention"
    again = next(op.index for op in of.ops if (op.label, op.phase) == (core, "recompute"))
    gradient = next(op.index for op in of.ops if op.label == "do")
    assert (again > gradient) == (name == "megatron-2022")
    hidden = [core in hiding(of, op) for op in messages(of, "attention.dout")]
    assert set(hidden) == {name == "ideal"}


def test_sequence_parallel_makes_a_published_layer_faster() -> None:
    """Forward and backward of the layer that was measured take less with it: the sign is right."""
    plain = tspsim.run(LAYER).summary.step_time
    scattered = tspsim.run(LAYER, "strategy.sequence_parallel=true").summary.step_time
    assert 0.95 < scattered / plain < 1


# ---- ring attention ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "turns"), [({"kv": "ring"}, 4), ({"kv": "usp", "ulysses_degree": 2}, 2)], ids=str
)
def test_the_rings_gradients_travel_while_the_next_block_is_attended_to(options, turns) -> None:
    """What arrives is added to after the kernel: the kernel does not wait for it."""
    of = recorded("sp", degree=4, **options)
    hops = messages(of, "dkv")
    assert len(hops) == (turns - 1) * MODEL.layers * WORKLOAD.micro_batches
    assert all("attention_backward" in hiding(of, op) for op in hops)


# ---- TSP -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("recompute", ["none", "full"])
def test_the_mlps_weight_gradients_hop_while_an_input_gradient_is_computed(recompute) -> None:
    """They are added to after dX, which they have all of to arrive in."""
    workload = replace(WORKLOAD, recompute=recompute)
    of, _ = program(("tsp", {"degree": 4}), MODEL, workload)
    hops = [op for op in messages(of, "dweights") if op.message.collective == "shift"]
    assert len(hops) == 3 * MODEL.layers * WORKLOAD.micro_batches
    for op in hops:
        assert {"dhidden", "dactivation", "dx.gate", "dx.up"} <= set(hiding(of, op))


def test_attentions_weight_gradients_are_reduced_while_the_next_turn_is_computed() -> None:
    """An owner's reduction has the core of a later turn to hide behind."""
    of = recorded("tsp", degree=4)
    reduces = [op for op in messages(of, "dweights") if op.message.collective == "reduce"]
    assert all("attention_backward" in hiding(of, op) for op in reduces[:2])
