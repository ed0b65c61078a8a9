"""The proof can fail: take one thing out of a schedule and the values are wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.schedules import VARIANTS, record, title
from tspsim.model import ModelShape, Workload
from tspsim.program.types import Op, Programs
from tspsim.values import compare
from tspsim.values.play import Player

MODEL = ModelShape(hidden=32, layers=1, heads=16, kv_heads=8, ffn=24, vocab=24, head_dim=4)
WORKLOAD = Workload(sequence=16, dtype="fp64", recompute="full")


class Skipped:
    """Stands in for an op's kind: what it should have done does not happen.

    Outputs are the inputs where shapes allow, and otherwise a rank's own data repeated or cut:
    what is in memory when a collective is forgotten.
    """

    def __init__(self, op: Op) -> None:
        self._op, self.name = op, op.kind.name

    def values(self, where: Any, *arrays: Any) -> tuple[Any, ...]:  # noqa: ARG002
        """Return the last inputs as if they were the outputs."""
        return self._pass_on(arrays)

    def exchange(self, members: Any) -> list[tuple[Any, ...]]:
        """Return every member its own inputs."""
        return [self._pass_on(arrays) for arrays in members]

    def _pass_on(self, arrays: Any) -> tuple[Any, ...]:
        sources = arrays[-len(self._op.outputs) :]
        outs = zip(sources, self._op.outputs, strict=True)
        return tuple(_resized(x, operand.shape) for x, operand in outs)


def _resized(x: Any, shape: tuple[int, ...]) -> Any:
    import numpy as np

    return np.resize(x, shape)


def without(programs: Programs, victim: Callable[[Op], bool]) -> Programs:
    """Return the programs with the first op that `victim` picks made to do nothing."""
    (program,) = programs.roles
    index = next(op.index for op in program.ops if victim(op))
    ops = list(program.ops)
    ops[index] = ops[index]._replace(kind=Skipped(ops[index]))
    return replace(programs, roles=(replace(program, ops=tuple(ops)),))


def groups(programs: Programs) -> list[tuple[str, str, str]]:
    """Return the kinds of things that can be forgotten: (kind, label, phase) of ops."""
    (program,) = programs.roles
    found = {
        (op.kind.name, op.label, op.phase)
        for op in program.ops
        if op.message or op.kind.name == "reorder"
    }
    return sorted(found)


#: A whole forward is run again under ``recompute: full``, as checkpointing does it: its very last
#: sum over ranks feeds nothing, and is the one collective that no value depends on.
UNREAD = {("all_reduce", "mlp.out", "recompute"), ("reduce_scatter", "mlp.out", "recompute")}


@pytest.mark.parametrize("variant", VARIANTS, ids=title)
def test_forgetting_any_one_collective_or_reorder_is_found(variant) -> None:
    """Each collective and each zigzag reorder, one at a time, made to do nothing: values differ."""
    programs, mesh = record(variant, MODEL, WORKLOAD)
    unnoticed = []
    for kind, label, phase in groups(programs):
        mutant = without(
            programs,
            lambda op, k=kind, lb=label, p=phase: (op.kind.name, op.label, op.phase) == (k, lb, p),
        )
        if compare(mutant, mesh, MODEL, WORKLOAD).passed:
            unnoticed.append((kind, label, phase))
    assert groups(programs)
    assert set(unnoticed) == UNREAD & set(groups(programs))


def test_the_unmutated_schedules_pass() -> None:
    """The same comparison, with nothing taken out, finds nothing."""
    for variant in VARIANTS:
        programs, mesh = record(variant, MODEL, WORKLOAD)
        assert compare(programs, mesh, MODEL, WORKLOAD).passed


def test_a_collective_that_one_rank_leaves_out_stops_the_play() -> None:
    """Ranks that wait for a peer that never comes are told apart from a wrong value."""
    from tspsim.files.errors import ScheduleError

    programs, mesh = record(("tp", {"degree": 4}), MODEL, WORKLOAD)
    (program,) = programs.roles
    last = max(op.index for op in program.ops if op.message)
    shorter = replace(program, ops=tuple(op for op in program.ops if op.index != last))
    uneven = Programs((program, shorter), (0, 0, 0, 1))
    from tspsim.values.dense import initial

    with pytest.raises(ScheduleError, match="do not meet"):
        Player(uneven, mesh, initial(MODEL, WORKLOAD)).run()
