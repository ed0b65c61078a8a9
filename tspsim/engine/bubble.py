"""The bubble of a pipeline: for how long compute stands still because a micro-batch has not come.

Of a rank's compute between the start of the step and the end of its last action, the bubble is, of
each gap, the part before the end of the last send or receive that the next op waits for: directly,
or through other communication. What a gap has beyond it is communication of the stage itself. After
its last action a rank is in the bubble where its compute does nothing and some other rank has not
ended its last action. Optimizer steps count as work, and what stands still behind the last action
of all ranks is no bubble: gradients are then summed, and nobody waits for a micro-batch.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.mesh import PP
from tspsim.program.columns import columns_of
from tspsim.program.types import Program

#: Before a rank's first action, between its actions and in them, and after its last one.
Part = Literal["fill", "between", "drain"]


class Wait(NamedTuple):
    """A stretch of the bubble, in seconds.

    Attributes
    ----------
    part : {"fill", "between", "drain"}
    start, end : float
    transfer : int or None
        The send or receive that was awaited; None after the last action.
    """

    part: Part
    start: float
    end: float
    transfer: int | None = None


class Bubble(NamedTuple):
    """The bubble of a rank, in seconds, by where it lies.

    Attributes
    ----------
    fill : float
        Before its first action.
    between : float
        From there to the end of its last one.
    drain : float
        From there to the end of the last action of any rank.
    """

    fill: float
    between: float
    drain: float

    @property
    def seconds(self) -> float:
        """All of it."""
        return fsum(self)


class Bubbles:
    """Finds the bubble of every rank that was played.

    Parameters
    ----------
    timeline : Timeline
    """

    def __init__(self, timeline: Timeline) -> None:
        self._timeline = timeline
        self._layouts = [_Layout(program) for program in timeline.programs.roles]
        #: When the last action of any rank has ended.
        self.until = max(self._layout(rank).ended(timeline.end[rank]) for rank in timeline.played)

    def _layout(self, rank: int) -> _Layout:
        return self._layouts[self._timeline.programs.role_of_rank[rank]]

    def of(self, rank: int) -> Bubble:
        """Return the bubble of a rank."""
        waits = list(self.waits(rank))
        parts: tuple[Part, ...] = ("fill", "between", "drain")
        return Bubble(*(fsum(w.end - w.start for w in waits if w.part == part) for part in parts))

    def waits(self, rank: int) -> Iterator[Wait]:
        """Yield the stretches of a rank's bubble, in order of time."""
        layout = self._layout(rank)
        start, end = self._timeline.start[rank], self._timeline.end[rank]
        for place in _gaps_with_transfers(layout, start, end):
            op = int(layout.compute[place])
            free = float(end[layout.compute[place - 1]]) if place else 0.0
            transfer = layout.awaited(op, end, free)
            if transfer is not None:
                part: Part = "fill" if op == layout.first else "between"
                yield Wait(part, free, float(end[transfer]), transfer)
        yield from self._drain(layout, start, end)

    def _drain(
        self, layout: _Layout, start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> Iterator[Wait]:
        after, free = layout.after, layout.ended(end)
        for begins, ends in zip(start[after].tolist(), end[after].tolist(), strict=True):
            if free < min(begins, self.until):
                yield Wait("drain", free, min(begins, self.until))
            free = ends
        if free < self.until:
            yield Wait("drain", free, self.until)


class _Layout:
    """What of a program tells where its actions are, and what they wait for."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._columns = columns_of(program)
        of_op = self._columns.lanes
        lanes = [np.flatnonzero(of_op == lane) for lane in range(len(program.lanes))]
        self.compute = lanes[0]
        self._before = np.full(len(of_op), -1, dtype=np.intp)  # on the same lane
        for lane in lanes:
            self._before[lane[1:]] = lane[:-1]
        between = [ops for ops, lane in zip(lanes, program.lanes, strict=True) if PP in lane.axes]
        halves = self._columns.halves
        here = [ops[halves[ops]] for ops in between]
        self.transfers = np.concatenate([*here, np.zeros(0, dtype=np.intp)])
        self._between = frozenset(self.transfers.tolist())
        #: How many compute ops there are up to the last one of an action.
        self.count = int(np.searchsorted(self.compute, program.actions[-1].stop))
        beginning = int(np.searchsorted(self.compute, program.actions[0].first))
        self.first = int(self.compute[beginning]) if beginning < self.count else -1

    @property
    def after(self) -> NDArray[np.intp]:
        """The compute ops behind all actions."""
        return self.compute[self.count :]

    def ended(self, end: NDArray[np.float64]) -> float:
        """Return when the last action ends."""
        return float(end[self.compute[self.count - 1]]) if self.count else 0.0

    def awaited(self, op: int, end: NDArray[np.float64], free: float) -> int | None:
        """Return the transfer that ended last, after a moment, of those that an op waited for."""
        lanes, waits = self._columns.lanes, self._program.waits
        found, seen, left = list[int](), set[int](), [op]
        while left:
            task = left.pop()
            for other in (*waits[task], int(self._before[task])):
                if other < 0 or other in seen or not lanes[other] or end[other] <= free:
                    continue
                seen.add(other)
                (found if other in self._between else left).append(other)
        return max(found, key=lambda transfer: (end[transfer], transfer), default=None)


def _gaps_with_transfers(
    layout: _Layout, start: NDArray[np.float64], end: NDArray[np.float64]
) -> Sequence[int]:
    """Return the places of the compute ops behind gaps in which some transfer ends."""
    compute = layout.compute[: layout.count]
    begins, stops = np.concatenate([[0.0], end[compute[:-1]]]), start[compute]
    arrivals = np.sort(end[layout.transfers])
    # Those that end within a gap, or at its end: what is awaited ends when the next op starts.
    inside = np.searchsorted(arrivals, stops, side="right") - np.searchsorted(
        arrivals, begins, side="right"
    )
    found: list[int] = np.flatnonzero((stops > begins) & (inside > 0)).tolist()
    return found
