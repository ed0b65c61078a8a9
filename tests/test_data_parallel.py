"""Data parallelism: replicas compute the dense model, and send what the closed forms say."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tspsim
from tests.replicas import BLOCKS, KINDS, MODEL, OTHER, WORKLOAD
from tests.schedules import options, record
from tspsim.files.errors import ProgramError, UserError
from tspsim.flops import model_flops
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer
from tspsim.program.rank import Rank
from tspsim.program.replicas import Replication
from tspsim.program.types import Buffer, Op, Operand, Program, Programs
from tspsim.strategies.parts.replicas import update
from tspsim.strategies.tp import TensorParallel
from tspsim.testing import Skipped
from tspsim.values import Proof, check, compare


def variant(kind: str, **values: Any) -> tuple[str, dict[str, Any]]:
    """Return a strategy at a small degree, with options of data parallelism."""
    return kind, {**KINDS[kind], **values}


def prove(of: tuple[str, dict[str, Any]], model: ModelShape = MODEL) -> Proof:
    """Play a variant against the dense model."""
    programs, mesh = record(of, model, WORKLOAD)
    return compare(programs, mesh, model, WORKLOAD)


def over_dp(program: Program) -> list[Op]:
    """Return the ops whose communicator runs along ``dp``, without the loss."""
    lanes = {i for i, lane in enumerate(program.lanes) if "dp" in lane.axes}
    return [op for op in program.ops if op.lane in lanes and op.label != "loss"]


def recorded(
    of: tuple[str, dict[str, Any]], model: ModelShape = MODEL, optimizer: Optimizer | None = None
) -> Program:
    """Return the program of a variant."""
    programs, _ = record(of, model, WORKLOAD, optimizer)
    return programs.roles[0]


def resident(program: Program, kind: str) -> list[Buffer]:
    """Return the resident buffers of a kind."""
    return [b for b in program.buffers if b.resident and b.kind == kind]


# ---- values ----------------------------------------------------------------------------------


@pytest.mark.parametrize("bucket", ["0 B", "4 KiB", "25 MiB"])
@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("dp", [1, 2, 4])
@pytest.mark.parametrize("kind", KINDS)
def test_replicas_compute_the_dense_models_numbers(kind, dp, zero, bucket) -> None:
    """Loss, activations and every weight gradient equal those of all replicas' sequences."""
    proof = prove(variant(kind, dp=dp, zero=zero, bucket=bucket))
    assert proof.passed, proof.worst
    ranks = options(kind, **KINDS[kind], dp=dp).mesh().ranks
    assert {c.ranks for c in proof.comparisons} == {ranks}


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("model", [BLOCKS, OTHER], ids=["blocks", "other"])
def test_parts_that_do_not_divide_are_padded(model, zero) -> None:
    """Three replicas share tensors whose elements three does not divide."""
    elements = [b.shape[0] for b in resident(recorded(variant("tsp"), model), "gradient")]
    assert any(count % 3 for count in elements)
    proof = prove(variant("tsp", dp=3, zero=zero), model)
    assert proof.passed, proof.worst


@pytest.mark.parametrize("bucket", ["0 B", "4 KiB", "25 MiB"])
@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_weights_gathered_in_forward_compute_the_dense_models_numbers(
    kind, gradients, bucket
) -> None:
    """A step begins with a replica's own parts alone, and ends with what the next one gathers."""
    overlap = {"overlap_weights": True, "overlap_gradients": gradients}
    for model in (MODEL, BLOCKS, OTHER):
        proof = prove(variant(kind, dp=3, zero=1, bucket=bucket, **overlap), model)
        assert proof.passed, proof.worst


def without(programs: Programs, victim: Op) -> Programs:
    """Return the programs with one op made to do nothing."""
    (program,) = programs.roles
    ops = tuple(
        op._replace(kind=Skipped(op)) if op.index == victim.index else op for op in program.ops
    )
    return replace(programs, roles=(replace(program, ops=ops),))


@pytest.mark.parametrize(
    "options", [{}, {"zero": 1}, {"zero": 1, "overlap_weights": True}], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_dropping_any_one_bucket_is_found(kind, options) -> None:
    """Every message between replicas, one at a time, made to do nothing: values differ."""
    programs, mesh = record(variant(kind, dp=2, bucket="4 KiB", **options), MODEL, WORKLOAD)
    messages = over_dp(programs.roles[0])
    assert len(messages) > 2
    for victim in messages:
        assert not compare(without(programs, victim), mesh, MODEL, WORKLOAD).passed, victim.text()


def test_a_mean_over_one_replicas_tokens_is_found(monkeypatch) -> None:
    """The loss divides by the tokens of all replicas; dividing by one's own is wrong."""
    monkeypatch.setattr(Rank, "tokens", property(lambda rank: rank.workload.tokens))
    failed = {c.tensor for c in prove(variant("tp", dp=2)).comparisons if not c.passed}
    assert {"loss", "L0.wq gradient"} <= failed


def test_check_plays_few_replicas_with_buckets_in_proportion() -> None:
    """128 replicas are proven by two, with as many messages per layer as at full size."""
    scenario = tspsim.load("paper-1024", ["workload.phase=train", "strategy.zero=1"])
    proof = check(scenario)
    assert proof.passed, proof.worst
    assert {c.ranks for c in proof.comparisons} == {16}


# ---- messages --------------------------------------------------------------------------------


def received(program: Program, dp: int) -> float:
    """Return the bytes that a rank receives from other replicas, without the loss."""
    return sum(op.message.received(dp) for op in over_dp(program) if op.message)


def padded(program: Program, kind: str, dp: int) -> float:
    """Return the bytes of the buffers of a kind, each padded to a multiple of dp elements."""
    return sum(-(-b.shape[0] // dp) * dp * b.itemsize for b in resident(program, kind))


@settings(max_examples=30, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(2, 9),
    st.integers(0, 40),
    st.sampled_from([MODEL, OTHER]),
)
def test_volumes_between_replicas_equal_the_closed_forms(kind, dp, kib, model) -> None:
    """2 (N-1)/N of the gradients; ZeRO-1 (N-1)/N of gradients and of weights; at any bucket."""
    bucket = f"{kib} KiB"
    plain = recorded(variant(kind, dp=dp, bucket=bucket), model)
    gradients = sum(b.bytes for b in resident(plain, "gradient"))
    assert received(plain, dp) == pytest.approx(2 * (dp - 1) / dp * gradients, rel=1e-12)
    sharded = recorded(variant(kind, dp=dp, bucket=bucket, zero=1), model)
    members = options(kind, **KINDS[kind], dp=dp).sharers  # those who cut tokens share as well
    both = padded(sharded, "gradient", members) + padded(sharded, "weight", members)
    wanted = (members - 1) / members * both
    assert received(sharded, members) == pytest.approx(wanted, rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("micro_batches", [1, 3])
def test_accumulated_gradients_are_reduced_once_in_the_last_micro_batch(
    kind, micro_batches
) -> None:
    """However many micro-batches add up, every gradient travels in one message of the last."""
    workload = replace(WORKLOAD, micro_batches=micro_batches)
    programs, _ = record(variant(kind, dp=2, bucket="0 B"), MODEL, workload)
    (program,) = programs.roles
    reduced = [o.buffer.index for op in over_dp(program) for o in op.inputs]
    assert sorted(reduced) == [b.index for b in resident(program, "gradient")]
    assert {op.micro_batch for op in over_dp(program)} == {micro_batches - 1}


def last_writer(program: Program, operand: Operand) -> int:
    """Return the last op of the strategy itself that writes a buffer."""
    between = {op.index for op in over_dp(program)}
    writers = (op for op in program.ops if op.index not in between)
    return max(o.index for o in writers if any(x.buffer == operand.buffer for x in o.outputs))


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(sorted(KINDS)), st.integers(0, 60))
def test_buckets_fill_in_the_order_of_backward(kind, kib) -> None:
    """Closed when they hold enough and no sooner; each waits for its own gradients only."""
    program = recorded(variant(kind, dp=2, bucket=f"{kib} KiB"))
    buckets = over_dp(program)
    order = [last_writer(program, o) for op in buckets for o in op.inputs]
    assert order == sorted(order)
    for op in buckets:
        assert sum(o.bytes for o in op.inputs[:-1]) < max(1, kib * 1024)
        own = {last_writer(program, o) for o in op.inputs}
        lanes = {program.ops[i].lane: max(i, 0) for i in sorted(own)}
        assert set(program.waits[op.index]) == set(lanes.values())
    for op in buckets[:-1]:
        assert sum(o.bytes for o in op.inputs) >= kib * 1024


def test_recording_does_not_grow_with_replicas() -> None:
    """The program of one of 2 replicas has the ops of one of 1,024."""
    few, many = (recorded(variant("tsp", dp=dp)) for dp in (2, 1024))
    assert [op.text() for op in few.ops] == [op.text() for op in many.ops]


@pytest.mark.parametrize(("model", "labels"), [(BLOCKS, []), (MODEL, ["loss"])])
def test_a_forward_pass_sums_nothing_but_the_loss_over_replicas(model, labels) -> None:
    """Without a head there is nothing to say to other replicas."""
    programs, _ = record(variant("tsp", dp=2), model, replace(WORKLOAD, phase="forward"))
    (program,) = programs.roles
    lanes = {i for i, lane in enumerate(program.lanes) if lane.axis == "dp"}
    assert [op.label for op in program.ops if op.lane in lanes] == labels


# ---- memory ----------------------------------------------------------------------------------


def test_zero_1_shares_optimizer_states_and_nothing_else() -> None:
    """States and the step's temporary take 1/N; weights and gradients stay whole."""
    optimizer = Optimizer(temporary=4.0)
    whole = recorded(variant("tsp", dp=8), MODEL, optimizer)
    shared = recorded(variant("tsp", dp=8, zero=1), MODEL, optimizer)
    for kind, cut in (("weight", 1), ("gradient", 1), ("optimizer", 8)):
        sizes = [sum(b.bytes for b in resident(p, kind)) for p in (whole, shared)]
        assert sizes[0] == cut * sizes[1]
    temporaries = [next(b for b in p.buffers if b.name == "temporary") for p in (whole, shared)]
    assert temporaries[0].bytes == 8 * temporaries[1].bytes


def test_zero_1_updates_an_nth_of_the_weights() -> None:
    """The optimizer step moves 1/N of the bytes through device memory."""
    whole, shared = (recorded(variant("tsp", dp=8, zero=zero)) for zero in (0, 1))
    steps = [next(op for op in p.ops if op.label == "step") for p in (whole, shared)]
    moved = [op.work.bytes for op in steps if op.work is not None and hasattr(op.work, "bytes")]
    assert moved[0] == 8 * moved[1] > 0


def test_zero_1_of_a_single_replica_changes_nothing() -> None:
    """There is nobody to share with."""
    plain, alone = (recorded(variant("tp", zero=zero)) for zero in (0, 1))
    assert [op.text() for op in plain.ops] == [op.text() for op in alone.ops]
    assert [b.bytes for b in plain.buffers] == [b.bytes for b in alone.buffers]


# ---- time ------------------------------------------------------------------------------------

CLUSTER: dict[str, Any] = {
    "name": "cluster",
    "model": {
        "hidden": 4096, "layers": 4, "heads": 32, "kv_heads": 32, "ffn": 16384, "vocab": 0,
    },
    "workload": {"sequence": 8192},
    "topology": {"file": "mi300x-128-nodes-rails.yaml", "nodes": 2},
    "strategy": {"kind": "tsp", "degree": 8, "dp": 2},
}  # fmt: skip


def test_a_bucket_starts_when_its_last_gradient_is_written() -> None:
    """Not before, and not later than the bucket before it ends: it overlaps with backward."""
    timeline = tspsim.run(CLUSTER).timeline
    (program,), ends = timeline.programs.roles, timeline.end[0]
    before, backward = 0.0, max(ends[op.index] for op in program.ops if op.lane == 0)
    starts = []
    for op in over_dp(program):
        written = max(ends[last_writer(program, o)] for o in op.inputs)
        starts.append(timeline.start[0][op.index])
        assert starts[-1] == pytest.approx(max(written, before), rel=1e-12)
        before = ends[op.index]
    assert starts[0] < backward / 2


def steps(**options: Any) -> dict[str, float]:
    """Return the step times of ZeRO-1 with some options of data parallelism."""
    return {
        name: tspsim.run(
            {**CLUSTER, "strategy": {**CLUSTER["strategy"], "zero": 1, **more}}
        ).summary.step_time
        for name, more in options.items()
    }


def test_the_library_says_whether_gradients_are_reduced_during_backward() -> None:
    """Without a word: with zero: 0 they are (torch DDP), with zero: 1 not (Megatron-Core)."""
    for zero, early in ((0, True), (1, False)):
        plain = {"dp": 2, "zero": zero, "bucket": "4 KiB"}
        unsaid, said, other = (
            recorded(variant("tsp", **plain, **more))
            for more in ({}, {"overlap_gradients": early}, {"overlap_gradients": not early})
        )
        assert unsaid.waits == said.waits != other.waits


def test_without_overlap_gradients_are_reduced_after_the_last_backward() -> None:
    """The first bucket waits for the last computation of backward."""
    program = recorded(variant("tp", dp=2, bucket="4 KiB", overlap_gradients=False))
    first = min(op.index for op in over_dp(program))
    backward = max(op.index for op in program.ops if op.lane == 0 and op.phase == "backward")
    assert backward in program.waits[first]


def test_every_overlap_between_replicas_hides_some_of_what_it_moves() -> None:
    """Reductions during backward, and weights during the next forward, each make a step faster."""
    found = steps(
        neither={},
        gradients={"overlap_gradients": True},
        weights={"overlap_weights": True},
        both={"overlap_gradients": True, "overlap_weights": True},
    )
    assert found["both"] < found["gradients"] < found["neither"]
    assert found["both"] < found["weights"] < found["neither"]


def test_a_layer_waits_for_its_own_weights_only() -> None:
    """Gathered in the order in which forward reads them, embedding first and head last."""
    program = recorded(variant("tp", dp=2, zero=1, bucket="0 B", overlap_weights=True))
    gathers = [op for op in over_dp(program) if op.label == "weights"]
    assert [op.index for op in gathers] == list(range(len(gathers)))
    first = {}
    for op in program.ops[len(gathers) :]:
        for operand in op.inputs:
            first.setdefault(operand.buffer.index, op.index)
    readers = [first[op.outputs[0].buffer.index] for op in gathers]
    assert readers == sorted(readers)


def test_weights_that_nobody_gathers_cannot_be_gathered_early() -> None:
    """overlap_weights without zero: 1 is a mistake, told with its place."""
    with pytest.raises(UserError, match=r"strategy\.overlap_weights: zero: 0 gathers no weights"):
        tspsim.load("paper-1024", ["strategy.overlap_weights=true"])


def test_small_buckets_hide_what_one_large_one_exposes() -> None:
    """On links that nothing else uses, one message at the end of backward costs its whole time."""
    early = tspsim.run(CLUSTER).summary
    late = tspsim.run(CLUSTER, "strategy.bucket=1 TiB").summary
    alone = tspsim.run(CLUSTER, "strategy.dp=1", "topology.nodes=1").summary
    assert late.communication.by_op["all_reduce"] == early.communication.by_op["all_reduce"]
    assert late.step_time - alone.step_time > 2 * (early.step_time - alone.step_time) > 0


def test_figures_count_the_tokens_of_all_replicas() -> None:
    """Without messages between them, N replicas process N times the tokens at the same MFU."""
    one = tspsim.run(CLUSTER, "workload.phase=forward", "strategy.dp=1", "topology.nodes=1").summary
    two = tspsim.run(CLUSTER, "workload.phase=forward").summary
    assert two.step_time == pytest.approx(one.step_time, rel=1e-12)
    assert two.tokens_per_second == pytest.approx(2 * 8192 / two.step_time)
    assert two.tokens_per_second_per_device == pytest.approx(one.tokens_per_second_per_device)
    assert two.mfu == pytest.approx(one.mfu)
    assert two.hfu == pytest.approx(one.hfu)
    assert two.strategy.axes == {"dp": 2, "tsp": 8}


def test_show_counts_the_flops_of_all_replicas() -> None:
    """As MFU does."""
    from tspsim.cli.overview import overview

    scenario = tspsim.load("paper-1024", ["topology.nodes=4", "strategy.dp=4"])
    flops = overview(scenario)["flops"]["model"]
    assert flops == 4 * model_flops(scenario.model, scenario.workload)


# ---- authors of strategies -------------------------------------------------------------------


class Mine(TensorParallel):
    """A strategy that somebody wrote without a thought of replicas."""

    kind: Literal["mine"] = "mine"  # type: ignore[assignment]


@pytest.mark.parametrize("zero", [0, 1])
def test_a_strategy_written_without_replicas_in_mind_has_them(zero) -> None:
    """`dp` and its options are every strategy's, and are proven like the others."""
    mine = Mine(degree=2, dp=2, zero=zero)
    programs = mine.record(MODEL, WORKLOAD, Optimizer())
    assert compare(programs, mine.mesh(), MODEL, WORKLOAD).passed


def test_a_step_that_forgets_to_gather_the_weights_is_refused() -> None:
    """A strategy without the skeleton has to call `begin` for overlap_weights."""
    replication = Replication(zero=1, overlap_weights=True)
    rank = Rank(Mesh((("dp", 2), ("tp", 2))), MODEL, WORKLOAD, Optimizer(), replication)
    with pytest.raises(ProgramError, match=r"does not begin its step with begin\(\)"):
        update(rank)


def test_a_rank_that_was_not_told_how_replicas_agree_is_refused() -> None:
    """`zero` and `bucket` are not dropped in silence."""
    with pytest.raises(ProgramError, match="an axis 'dp' needs a Replication"):
        Rank(Mesh((("dp", 2), ("tp", 2))), MODEL, WORKLOAD, Optimizer())
