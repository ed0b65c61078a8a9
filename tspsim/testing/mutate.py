"""One thing at a time is taken out of a schedule: whatever it is, values must then be wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np

from tspsim.mesh import Mesh
from tspsim.program.kind import ByCommunicator, CollectiveCall
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Op, Program, Programs


class Forgotten(NamedTuple):
    """What can be forgotten: the ops of a kind, with a label, in a phase of one role's program."""

    role: int
    kind: str
    label: str
    phase: str

    def __str__(self) -> str:
        return f"{self.phase} {self.label} ({self.kind}) of role {self.role}"


@dataclass(frozen=True, slots=True)
class Skipped:
    """Stands in for an op's kind: what it should have done does not happen.

    Outputs are the inputs where shapes allow, and otherwise a rank's own data repeated or cut:
    what is in memory when a collective is forgotten. What is never sent arrives as zeros.
    """

    op: Op

    @property
    def name(self) -> str:
        """Name of the kind that is skipped."""
        return self.op.kind.name

    def text(self) -> str:
        """Return the name, marked."""
        return f"skipped {self.name}"

    def of_rank(self, mesh: Mesh, rank: int) -> Skipped:
        """Return it as the communicator of a rank has it."""
        kind = self.op.kind
        if not isinstance(kind, ByCommunicator):
            return self
        return Skipped(self.op._replace(kind=kind.of_rank(mesh, rank)))

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the last inputs as if they were the outputs."""
        if not self.op.outputs:
            return tuple(np.zeros_like(x) for x in arrays)
        return self._pass_on(
            arrays, [o.of_rank(where.mesh, where.rank)[1] for o in self.op.outputs]
        )

    def exchange(self, members: Sequence[Sequence[Array]]) -> list[tuple[Array, ...]]:
        """Return every member its own inputs, of the shapes that it should have received."""
        received = cast("CollectiveCall", self.op.kind).exchange(members)
        shapes = [[x.shape for x in arrays] for arrays in received]
        return [self._pass_on(*pair) for pair in zip(members, shapes, strict=True)]

    def _pass_on(
        self, arrays: Sequence[Array], shapes: Sequence[tuple[int, ...]]
    ) -> tuple[Array, ...]:
        sources = arrays[-len(self.op.outputs) :]
        return tuple(np.resize(x, shape) for x, shape in zip(sources, shapes, strict=True))


def forgettable(programs: Programs) -> list[Forgotten]:
    """Return all that a rank could forget to say, or to put in order, sorted.

    Of a hop between a send and a receive it is the send.
    """
    return sorted(
        {
            _group(role, op)
            for role, program in enumerate(programs.roles)
            for op in program.ops
            if _can_be_forgotten(op)
        }
    )


def without(programs: Programs, victim: Forgotten) -> Programs:
    """Return the programs with the first such op made to do nothing, on all ranks of its role."""
    program = programs.roles[victim.role]
    first = next(op for op in program.ops if _group(victim.role, op) == victim)
    changed = {first.index: first._replace(kind=_skip(first))}
    roles = list(programs.roles)
    roles[victim.role] = _with(program, changed)
    if first.message is not None and first.message.collective not in ("send", "receive"):
        # All members of a collective forget it together: else they would wait for each other.
        for role, other in enumerate(programs.roles):
            if role != victim.role:
                roles[role] = _with(other, _same_call(program, first, other))
    return replace(programs, roles=tuple(roles))


def _same_call(program: Program, op: Op, other: Program) -> dict[int, Op]:
    """Return the op of another role that meets an op, skipped; nothing where they never meet."""
    name = program.lanes[op.lane].name
    place = [o.index for o in program.ops if program.lanes[o.lane].name == name].index(op.index)
    calls = [o for o in other.ops if other.lanes[o.lane].name == name]
    if place >= len(calls) or _said(calls[place]) != _said(op):
        return {}
    return {calls[place].index: calls[place]._replace(kind=_skip(op))}


def _said(op: Op) -> tuple[Any, ...]:
    """Return what members of a collective have in common; stages of a pipeline do not."""
    return op.kind, op.message, [out.shape for out in op.outputs]


def _with(program: Program, changed: dict[int, Op]) -> Program:
    return replace(program, ops=tuple(changed.get(op.index, op) for op in program.ops))


def _skip(op: Op) -> Any:
    return Skipped(op)


def _can_be_forgotten(op: Op) -> bool:
    return (op.message is not None and op.kind.name != "receive") or op.kind.name == "reorder"


def _group(role: int, op: Op) -> Forgotten:
    return Forgotten(role, op.kind.name, op.label, op.phase)
