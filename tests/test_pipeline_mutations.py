"""The proof of a pipeline can fail: take one thing out or swap two, and it is found."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

import pytest

from tests.pipelines import piped
from tspsim.engine.checks import dryrun
from tspsim.files.errors import ScheduleError
from tspsim.program.types import Op, Program, Programs
from tspsim.testing import MODEL, Case, Skipped, forgettable, without
from tspsim.values import compare

TIED = replace(MODEL, tied=True)
#: What the last recomputation of a whole forward sums and nobody reads.
UNREAD = {("all_reduce", "mlp.out", "recompute"), ("reduce_scatter", "mlp.out", "recompute")}


def wrong(made: Case, programs: Programs) -> bool:
    """Say whether the proof finds that these are not the case's programs."""
    return not compare(programs, made.mesh, made.model, made.workload).passed


def skipping(program: Program, ops: Collection[Op]) -> Program:
    """Return a program in which some ops do nothing."""
    indices = {op.index for op in ops}
    return replace(
        program,
        ops=tuple(
            op._replace(kind=Skipped(op)) if op.index in indices else op for op in program.ops
        ),
    )


def with_role(programs: Programs, role: int, program: Program) -> Programs:
    """Return programs of which one role plays another."""
    roles = list(programs.roles)
    roles[role] = program
    return replace(programs, roles=tuple(roles))


@pytest.mark.parametrize(
    ("strategy", "schedule", "model"),
    [("tsp", "zb_h1", TIED), ("tp", "zb_v", TIED), ("tp-sequence", "dualpipe", MODEL)],
)
def test_nothing_that_is_said_can_be_forgotten(strategy: str, schedule: str, model: Any) -> None:
    """Every kind of send, exchange, sum and gather, of every rank of the pipeline."""
    made = piped(strategy, schedule, model=model)
    everything = forgettable(made.programs)
    unnoticed = {v[1:] for v in everything if not wrong(made, without(made.programs, v))}
    assert unnoticed <= UNREAD
    labels = {victim.label for victim in everything}
    assert {"x", "dx"} <= labels
    assert ("tied" in labels) == (schedule == "zb_h1")  # in a V both ends are on one rank
    assert ("copies" in labels) == (schedule == "dualpipe")


def test_the_sums_over_replicas_cannot_be_forgotten() -> None:
    """Reduced gradients and gathered weights, of each stage."""
    made = piped("tp", "zb_h1", model=TIED, options={"dp": 2, "zero": 1})
    everything = [v for v in forgettable(made.programs) if v.label in ("gradients", "weights")]
    assert {(v.role, v.label) for v in everything} >= {(r, "gradients") for r in (0, 1)}
    assert all(wrong(made, without(made.programs, victim)) for victim in everything)


def matrices(op: Op) -> bool:
    """Say whether an op adds to the gradient of a matrix."""
    return bool(getattr(op.kind, "transpose_a", False))


@pytest.mark.parametrize("schedule", ["zb_h1", "zb_v", "dualpipe_v", "dualpipe"])
def test_the_weight_gradients_of_one_micro_batch_cannot_be_forgotten(schedule: str) -> None:
    """Of any stage: what its W would have added is missing."""
    made = piped("tp", schedule)
    for role, program in enumerate(made.programs.roles):
        for batch in (0, made.workload.micro_batches - 1):
            ops = [op for op in program.ops if matrices(op) and op.micro_batch == batch]
            assert ops
            assert wrong(made, with_role(made.programs, role, skipping(program, ops)))


@pytest.mark.parametrize(("schedule", "label"), [("1f1b", "tied"), ("dualpipe", "copies")])
def test_what_is_received_of_a_copy_has_to_be_added(schedule: str, label: str) -> None:
    """The exchange alone makes no sum: of a tied table, or of a mirrored rank's layers."""
    made = piped("tp", schedule, model=TIED)
    for role, program in enumerate(made.programs.roles):
        ops = [op for op in program.ops if op.label == label and op.message is None]
        assert ops
        assert wrong(made, with_role(made.programs, role, skipping(program, ops[:1])))


def sends(op: Op) -> bool:
    """Say whether an op sends to another stage."""
    return op.kind.name == "send" and op.label in ("x", "dx")


def receives(op: Op) -> bool:
    """Say whether an op receives from another stage."""
    return op.kind.name == "receive" and op.label in ("x", "dx")


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved", "zb_v"])
@pytest.mark.parametrize("half", [sends, receives])
def test_halves_without_their_other_are_found_before_anything_is_played(
    schedule: str, half: Callable[[Op], bool]
) -> None:
    """A send or a receive that a rank leaves out: the dry run says which calls do not meet."""
    made = piped("tp", schedule)
    for role, program in enumerate(made.programs.roles):
        gone = next(op.index for op in program.ops if half(op))
        shorter = replace(program, **_dropped(program, gone))
        with pytest.raises(ScheduleError):
            dryrun.check(with_role(made.programs, role, shorter), made.mesh)


def _dropped(program: Program, gone: int) -> dict[str, Any]:
    """Return ops and waits without one op; what waited for it waits for nothing instead."""
    kept = [op for op in program.ops if op.index != gone]
    places = {op.index: place for place, op in enumerate(kept)}
    return {
        "ops": tuple(op._replace(index=places[op.index]) for op in kept),
        "waits": tuple(
            tuple(places[w] for w in program.waits[op.index] if w != gone) for op in kept
        ),
    }


@pytest.mark.parametrize("schedule", ["gpipe", "interleaved", "zb_h2"])
@pytest.mark.parametrize("half", [sends, receives])
def test_micro_batches_that_are_mixed_up_are_found(
    schedule: str, half: Callable[[Op], bool]
) -> None:
    """Two activations go, or are taken, in each other's place: all calls meet, values do not."""
    made = piped("tp", schedule)
    for role, program in enumerate(made.programs.roles):
        for label in ("x", "dx"):
            found = [op for op in program.ops if half(op) and op.label == label]
            if not found:
                continue  # the last rank sends nothing onward, the first one nothing back
            first, second = found[0], next(op for op in found[1:] if op.lane == found[0].lane)
            ops = list(program.ops)
            ops[first.index] = first._replace(inputs=second.inputs, outputs=second.outputs)
            ops[second.index] = second._replace(inputs=first.inputs, outputs=first.outputs)
            assert broken(made, with_role(made.programs, role, replace(program, ops=tuple(ops))))


def broken(made: Case, programs: Programs) -> bool:
    """Say whether values are wrong, or what is needed has not come: the play stands still."""
    try:
        return wrong(made, programs)
    except (AssertionError, ScheduleError):
        return True
