"""What one rank issues on a communicator, or to one other rank on a channel."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.program.columns import Columns, columns_of
from tspsim.program.remembered import remembered
from tspsim.program.types import Lane, Message, Op, Program

#: Which half of a hop and its channel; of a collective ``""`` and the name of its lane.
Way: TypeAlias = tuple[str, str]


class Issued(NamedTuple):
    """What a program issues one way: indices of the ops, and their messages."""

    program: Program
    ops: tuple[int, ...] = ()
    calls: tuple[Message, ...] = ()


class Member(NamedTuple):
    """A rank, and what it issues, in order: calls as it has them."""

    rank: int
    issued: Issued
    calls: tuple[Message, ...]

    def call(self, step: int) -> Message | None:
        """Return the call at a step; None when there are no more."""
        return self.calls[step] if step < len(self.calls) else None

    def op(self, step: int) -> Op:
        """Return the op at a step."""
        return self.issued.program.ops[self.issued.ops[step]]


@remembered
def issued(program: Program) -> dict[Way, Issued]:
    """Return what a program issues, way by way in the order of their first ops."""
    columns = columns_of(program)
    ways, of_op = _ways(columns, program.lanes)
    talks = np.flatnonzero(of_op >= 0)
    _, firsts = np.unique(of_op[talks], return_index=True)
    found = {}
    for way in of_op[talks[np.sort(firsts)]].tolist():
        ops = np.flatnonzero(of_op == way)
        said = (columns.messages[place] for place in columns.message[ops].tolist())
        calls = tuple(message for message in said if message is not None)
        found[ways[way]] = Issued(program, tuple(ops.tolist()), calls)
    return found


def _ways(columns: Columns, lanes: tuple[Lane, ...]) -> tuple[list[Way], NDArray[np.intp]]:
    """Return all ways, and by op the place of its own among them; -1 of compute."""
    places: dict[Way, int] = {}
    by_lane = np.array([places.setdefault(("", lane.name), len(places)) for lane in lanes])
    halves = [message.half if message else None for message in columns.messages]
    by_message = np.array([places.setdefault(h, len(places)) if h else 0 for h in halves])
    of_op = np.where(columns.halves, by_message[columns.message], by_lane[columns.lanes])
    return list(places), np.where(columns.talks, of_op, -1)
