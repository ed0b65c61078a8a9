"""When the host launches what a device plays.

Where kernels give the host time, it issues a layer's pass in a piece, and the launches of the pass
are spread evenly over that. Where they give it none, and of what belongs to no pass of a layer, a
launch takes no time and is one kernel ahead: it stands at the start of the kernel before it on its
stream. So who reads the trace takes no wait for one for the host.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import takewhile
from typing import NamedTuple

from tspsim.engine.timeline import Timeline
from tspsim.output.kineto_waits import begins
from tspsim.program.recorder import HOST
from tspsim.program.types import Op


class Launch(NamedTuple):
    """From when to when, in seconds, the host issues an op, or launches its kernel."""

    op: int
    start: float
    end: float


def launches(timeline: Timeline, rank: int) -> Iterator[Launch]:
    """Yield what a rank's host does, in issue order: its own ops, and a launch per kernel.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    """
    program = timeline.programs.of(rank)
    start, end = begins(timeline, rank).tolist(), timeline.end[rank].tolist()
    host = program.lanes.index(HOST) if HOST in program.lanes else None
    issued: dict[int, tuple[float, float]] = {}
    ahead = [0.0] * len(program.lanes)
    for op in program.ops:
        since, until = start[op.index], end[op.index]
        if op.lane == host:
            yield Launch(op.index, since, until)
            issued = _spread(_pass(program.ops, op), since, until)
        elif until > since:
            first, last = issued.get(op.index, (ahead[op.lane],) * 2)
            if last > since:  # a message that did not wait for its layer's issue
                first = last = ahead[op.lane]
            yield Launch(op.index, first, last)
            ahead[op.lane] = since


def _pass(ops: Sequence[Op], issue: Op) -> list[int]:
    """Return the ops that an op of the host issues: those of its pass, up to the next issue."""
    place = issue.layer, issue.micro_batch
    until = takewhile(lambda op: op.lane != issue.lane, ops[issue.index + 1 :])
    return [op.index for op in until if (op.layer, op.micro_batch) == place]


def _spread(ops: list[int], start: float, end: float) -> dict[int, tuple[float, float]]:
    """Return an equal stretch of the time of an issue for each of its ops."""
    each = (end - start) / max(len(ops), 1)
    return {op: (start + i * each, start + (i + 1) * each) for i, op in enumerate(ops)}
