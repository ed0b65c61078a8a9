"""Sharing of gradients and weights: the dense model's numbers, closed forms, what is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

import tspsim
from tests import replicas
from tests.replicas import BLOCKS, MODEL, OTHER, WORKLOAD
from tests.schedules import options, record
from tspsim.engine.checks import dryrun
from tspsim.files.errors import UserError
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer
from tspsim.program.types import Op, Program
from tspsim.testing import forgettable, without
from tspsim.values import Proof, check, compare

KINDS: dict[str, dict[str, Any]] = {**replicas.KINDS, "fsdp": {}}
#: Ways to share, beside the plain ones.
WAYS: dict[str, dict[str, Any]] = {
    "states in blocks": {"dp": 4, "zero": 1, "shard": {"degree": 2}},
    "gradients": {"dp": 2, "zero": 2},
    "gradients, once": {"dp": 3, "zero": 2, "sync": "last", "reduce": "bf16"},
    "gradients in blocks": {"dp": 4, "zero": 2, "shard": {"degree": 2}},
    "gradients, weights ahead": {"dp": 2, "zero": 2, "overlap_weights": True},
    "weights": {"dp": 2, "zero": 3},
    "weights, padded": {"dp": 3, "zero": 3, "reduce": "bf16"},
    "weights, once": {"dp": 2, "zero": 3, "sync": "last"},
    "weights stay": {"dp": 2, "zero": 3, "reshard": False},
    "weights stay on neighbours": {"dp": 4, "zero": 3, "reshard": 2},
    "weights in blocks": {"dp": 4, "zero": 3, "shard": {"degree": 2}},
    "weights in blocks, once": {"dp": 4, "zero": 3, "shard": {"degree": 2}, "sync": "last"},
}


def played(kind: str, way: dict[str, Any], model: ModelShape = MODEL, **work: Any) -> Proof:
    """Check that a strategy's calls meet, and play it against the dense model."""
    workload = replace(WORKLOAD, **work)
    programs, mesh = record((kind, {**KINDS[kind], **way}), model, workload)
    dryrun.check(programs, mesh)
    return compare(programs, mesh, model, workload)


def recorded(
    kind: str, way: dict[str, Any], model: ModelShape = MODEL, optimizer: Optimizer | None = None
) -> tuple[Program, Mesh]:
    """Return what all ranks of a strategy play."""
    programs, mesh = record((kind, {**KINDS[kind], **way}), model, WORKLOAD, optimizer)
    (program,) = programs.roles
    return program, mesh


def between_replicas(program: Program) -> list[Op]:
    """Return what replicas say to each other, without the loss."""
    axes = {"dp", "shard"}
    return [
        op for op in program.ops if axes & set(program.lanes[op.lane].axes) and op.label != "loss"
    ]


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_is_shared_the_numbers_are_the_dense_models(kind: str, way: str) -> None:
    """Loss, activations and what every weight's own part has moved by, on every rank."""
    others = (OTHER, BLOCKS) if WAYS[way]["dp"] == 3 else ()
    for model in (MODEL, *others):
        proof = played(kind, WAYS[way], model)
        assert proof.passed, proof.worst
        ranks = options(kind, **{**KINDS[kind], **WAYS[way]}).mesh().ranks
        assert {c.ranks for c in proof.comparisons} == {ranks}


@pytest.mark.parametrize("recompute", ["selective", "full"])
@pytest.mark.parametrize("zero", [2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_recomputation_reads_what_backward_has_gathered(
    kind: str, zero: int, recompute: str
) -> None:
    """A forward that is run again finds its weights; so do pieces of the head."""
    proof = played(kind, {"dp": 2, "zero": zero}, recompute=recompute, logits_chunks=2)
    assert proof.passed, proof.worst


@pytest.mark.parametrize("schedule", ["1f1b", "zb_h1", "zb_v", "dualpipe_v"])
@pytest.mark.parametrize("zero", [1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_stages_share_among_their_own_replicas(kind: str, zero: int, schedule: str) -> None:
    """In a pipeline gradients are reduced once; weights stay gathered, or come per micro-batch."""
    ways: list[dict[str, Any]] = [{}, {"reshard": True}] if zero == 3 else [{}]
    for more in ways:
        way = {"dp": 2, "zero": zero, "pp": {"stages": 2, "schedule": schedule}, **more}
        proof = played(kind, way, replace(MODEL, layers=4), micro_batches=4)
        assert proof.passed, proof.worst


def test_ranks_that_hold_the_same_weights_share_without_replicas() -> None:
    """Weights are equal over the ranks that cut tokens: one alone of them all is a group."""
    for zero in (1, 2, 3):
        assert played("sp", {"zero": zero}).passed
        program, _ = recorded("sp", {"degree": 4, "zero": zero})
        states = sum(b.bytes for b in program.buffers if b.kind == "optimizer")
        whole, _ = recorded("sp", {"degree": 4})
        assert sum(b.bytes for b in whole.buffers if b.kind == "optimizer") == 4 * states


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["tsp", "fsdp"])
def test_forgetting_any_one_message_is_found(kind: str, way: str) -> None:
    """Each collective, one kind at a time, made to do nothing: values differ."""
    programs, mesh = record((kind, {**KINDS[kind], **WAYS[way]}), MODEL, WORKLOAD)
    for victim in forgettable(programs):
        mutated = without(programs, victim)
        assert not compare(mutated, mesh, MODEL, WORKLOAD).passed, victim


def test_weights_are_gathered_in_the_type_of_activations_where_that_is_narrower() -> None:
    """Shards of 16 bytes travel as 8; the numbers are those of the dense model."""
    workload, optimizer = WORKLOAD, Optimizer(weight=16)
    programs, mesh = record(("fsdp", {"dp": 2}), MODEL, workload, optimizer)
    assert compare(programs, mesh, MODEL, workload).passed
    gathers = [op for op in between_replicas(programs.roles[0]) if op.label == "weights"]
    assert {o.buffer.itemsize for op in gathers for o in op.inputs} == {8}


# ---- volumes ---------------------------------------------------------------------------------


def received(program: Program, mesh: Mesh) -> float:
    """Return the bytes that a rank receives from those that share with it."""
    total = 0.0
    for op in between_replicas(program):
        lane = program.lanes[op.lane]
        assert op.message is not None and lane.axis is not None
        total += op.message.received(lane.size or mesh.degree(lane.axis))
    return total


@pytest.mark.parametrize(
    ("way", "times"),
    [
        ({"zero": 1}, 2),
        ({"zero": 2}, 1 + 2),
        ({"zero": 2, "sync": "last"}, 1 + 1),
        ({"zero": 3}, 3 * 2),
        ({"zero": 3, "sync": "last"}, 2 * 2 + 1),
        ({"zero": 3, "reshard": False, "sync": "last"}, 2 + 1),
    ],
    ids=str,
)
@pytest.mark.parametrize("micro_batches", [2])
def test_volumes_equal_the_closed_forms(
    way: dict[str, Any], times: int, micro_batches: int
) -> None:
    """So many times (N-1)/N of the layers' bytes, with two micro-batches of two bytes each."""
    model, optimizer = replace(MODEL, vocab=0), Optimizer(weight=2, gradient=2)
    assert micro_batches == WORKLOAD.micro_batches
    program, mesh = recorded("tp", {"degree": 1, "sequence_parallel": False, "dp": 4, **way},
                             model, optimizer)  # fmt: skip
    volume = model.stack_parameters() * 2
    assert received(program, mesh) == pytest.approx(times * 3 / 4 * volume, rel=1e-12)


def test_blocks_add_a_sum_of_shards() -> None:
    """Inside of blocks as without them; then 2 (R-1)/R of a shard between blocks."""
    model, optimizer = replace(MODEL, vocab=0), Optimizer(weight=2, gradient=2)
    way = {"dp": 8, "shard": {"degree": 4}, "sync": "last"}
    program, mesh = recorded("fsdp", way, model, optimizer)
    volume = model.stack_parameters() * 2
    inside, outside = 5 * 3 / 4 * volume, 2 * 1 / 2 * volume / 4
    assert received(program, mesh) == pytest.approx(inside + outside, rel=1e-12)
    assert mesh.axes == (("dp", 2), ("shard", 4))


# ---- memory ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("zero", "own", "cut"), [(1, 2 + 2, 12), (2, 2, 2 + 12), (3, 0, 4 + 12)])
def test_resident_bytes_per_parameter_equal_the_closed_forms(zero: int, own: int, cut: int) -> None:
    """ZeRO-1: 2 + 2 + K/N, ZeRO-2: 2 + (2 + K)/N, ZeRO-3: (4 + K)/N, with K = 12.

    Of ZeRO-3 at the end of backward: gradients come with their reductions.
    """
    states = (("master", 4.0), ("moments", 8.0))
    optimizer = Optimizer("adamw", 2, 2, states, 0.0)
    program, _ = recorded("tp", {"degree": 1, "sequence_parallel": False, "dp": 8, "zero": zero},
                          optimizer=optimizer)  # fmt: skip
    kinds = ("weight", "gradient", "optimizer")
    held = sum(b.bytes for b in program.buffers if b.kind in kinds)
    assert held == MODEL.parameters * (own + cut / 8)


def test_two_layers_are_gathered_at_a_time() -> None:
    """However many layers there are: one is computed with, the next is on its way."""
    peaks = {}
    for layers in (4, 12):
        model = {**CLUSTER["model"], "layers": layers}
        result = tspsim.run({**CLUSTER, "model": model}, "workload.recompute=full")
        peaks[layers] = result.memory.ranks[0].at_peak["workspace"]
    assert peaks[4] == peaks[12] > 0


#: A cluster on which nothing hides but what is prefetched.
CLUSTER: dict[str, Any] = {
    "name": "cluster",
    "model": {
        "hidden": 4096, "layers": 4, "heads": 32, "kv_heads": 32, "ffn": 16384, "vocab": 0,
    },
    "workload": {"sequence": 8192},
    "topology": {"file": "h100-node.yaml"},
    "strategy": {"kind": "fsdp", "dp": 8},
}  # fmt: skip


# ---- time ------------------------------------------------------------------------------------


def test_a_layer_is_gathered_while_the_one_before_is_computed_with() -> None:
    """In forward and in backward a gather begins when the group before it has been copied out."""
    timeline = tspsim.run(CLUSTER).timeline
    (program,) = timeline.programs.roles
    start, end = timeline.start[0], timeline.end[0]
    copies = [op for op in program.ops if op.label == "copy_out"]
    gathers = [op for op in program.ops if op.label == "weights"]
    assert len(copies) == len(gathers) == 8
    for before, copy, gather in zip(copies, copies[1:], gathers[1:], strict=False):
        assert start[gather.index] >= end[before.index] - 1e-12
        assert start[copy.index] >= end[gather.index]
    hidden = [
        g for g, c in zip(gathers[1:], copies, strict=False) if start[g.index] < end[c.index + 1]
    ]
    assert len(hidden) >= 6


def test_a_thousand_replicas_that_share_weights_are_played_by_one() -> None:
    """1,024 devices: the fold takes the axis of replicas, and blocks of neighbours beside it."""
    topology = {"file": "mi300x-128-nodes-rails.yaml"}
    for more in ({}, {"shard": {"degree": 8}}):
        strategy = {"kind": "tsp", "degree": 8, "dp": 128, "zero": 3, **more}
        result = tspsim.run({**CLUSTER, "topology": topology, "strategy": strategy})
        assert len(result.timeline.played) < 64
        assert result.summary.step_time > 0


def test_fsdp_is_replicas_that_share_their_weights() -> None:
    """``kind: fsdp`` is a strategy without axes: its step is that of one rank per replica."""
    named = tspsim.run(CLUSTER)
    plain = tspsim.run(CLUSTER, "strategy={kind: tp, degree: 1, dp: 8, zero: 3}")
    assert named.summary.step_time == plain.summary.step_time
    assert named.memory.peak == plain.memory.peak
    assert check(named.scenario).passed


def test_a_single_rank_shares_with_nobody() -> None:
    """Of one replica every zero is zero 0."""
    plain, alone = (recorded("tp", {"zero": zero})[0] for zero in (0, 3))
    assert [op.text() for op in plain.ops] == [op.text() for op in alone.ops]


# ---- states on the host ----------------------------------------------------------------------

HOST = ("topology.device.host_link=50 GB/s", "topology.device.host_memory=100 GB/s")


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", KINDS)
def test_a_step_on_the_host_updates_the_same(kind: str, zero: int) -> None:
    """Every weight moves by its gradient, or has it, as without."""
    assert played(kind, {"dp": 2, "zero": zero, "offload": "optimizer"}).passed


@pytest.mark.parametrize("zero", [0, 3])
def test_states_leave_the_device_and_the_step_pays_for_it(zero: int) -> None:
    """12 bytes less per parameter; 4 down, 2 up at the link's rate, and the step at the host's."""
    dense = f"strategy={{kind: fsdp, dp: 8, zero: {zero}}}"
    with_states = tspsim.run(CLUSTER, dense, *HOST)
    without_states = tspsim.run(CLUSTER, dense, *HOST, "strategy.offload=optimizer")
    held = with_states.scenario.model.parameters / (8 if zero else 1)
    saved = with_states.memory.ranks[0].at_peak["optimizer"]
    assert saved == pytest.approx(12 * held)
    assert without_states.memory.ranks[0].at_peak["optimizer"] == 0
    (program,), timeline = without_states.timeline.programs.roles, without_states.timeline
    seconds = {
        op.label: timeline.end[0][op.index] - timeline.start[0][op.index] for op in program.ops
    }
    assert seconds["gradients.down"] == pytest.approx(4 * held / 50e9)
    assert seconds["weights.up"] == pytest.approx(2 * held / 50e9)
    assert seconds["step"] == pytest.approx((4 + 2 + 2 + 2 * 12) * held / 100e9)


def test_a_host_that_nothing_is_known_of_is_refused() -> None:
    """With what to state, and where."""
    with pytest.raises(
        UserError, match=r"strategy\.offload: .*states no host_link and no host_memory"
    ):
        tspsim.run(CLUSTER, "strategy.offload=optimizer")


# ---- mistakes --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        ("{kind: fsdp, dp: 8, shard: {degree: 3}}",
         "shard.degree: blocks of 3 do not fill 8 replicas (dp); allowed: 1, 2, 4, 8"),
        ("{kind: fsdp, dp: 8, reshard: 3}",
         "reshard: found 3; 8 ranks share the weights; allowed: true, false, 2, 4, 8"),
        ("{kind: fsdp, dp: 8, bucket: 1 MiB}",
         "bucket: with zero: 3 the weights of a layer are a message; leave it out, or set zero: 2"),
        ("{kind: fsdp, dp: 8, overlap_weights: true}",
         "overlap_weights: zero: 3 gathers a layer's weights whenever they are needed"),
        ("{kind: tp, degree: 4, dp: 2, zero: 2, overlap_gradients: false}",
         "overlap_gradients: zero: 2 reduces a layer's gradients behind its backward"),
        ("{kind: tp, degree: 4, dp: 2, zero: 1, sync: last}",
         "sync: zero: 1 sums gradients once per step; set zero: 2 or leave it out"),
        ("{kind: tp, degree: 4, dp: 2, zero: 2, reshard: false}",
         "reshard: zero: 2 keeps all weights; set zero: 3 or leave it out"),
        ("{kind: tp, degree: 4, dp: 2, shard: {degree: 2}}",
         "shard: zero: 0 shares nothing; set zero: 1 or leave it out"),
        ("{kind: tp, degree: 2, dp: 2, zero: 3, sync: every, pp: {stages: 2}}",
         "sync: found 'every': a pipeline's stages reduce gradients once per step; allowed: last"),
        ("{kind: fsdp, dp: 8, zero: 4}", "zero:"),
    ],
)  # fmt: skip
def test_what_contradicts_is_refused_with_its_place(strategy: str, told: str) -> None:
    """The option, what was found, and what is allowed."""
    with pytest.raises(UserError) as caught:
        tspsim.run(CLUSTER, f"strategy={strategy}")
    assert f"strategy.{told}" in str(caught.value)
