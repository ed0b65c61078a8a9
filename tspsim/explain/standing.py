"""Why the compute stream of a rank stands still: every moment of it has one cause."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import fsum
from typing import Literal, NamedTuple

import numpy as np

from tspsim.engine.bubble import Bubbles
from tspsim.engine.held import held
from tspsim.engine.timeline import Timeline
from tspsim.explain.exposed import Interval, exposed, gaps
from tspsim.mesh import PP
from tspsim.program.types import Op
from tspsim.program.varying import Varying

#: ``host``: it has not issued what is to be computed; ``communication``: that is under way;
#: ``bubble``: the micro-batch has not come; ``uneven``: what communication takes longer because
#: messages are uneven; ``waiting``: others have not come to a collective, or to the end.
Reason = Literal["host", "communication", "bubble", "uneven", "waiting"]
#: A reason, and at which communication.
Cause = tuple[Reason, str]


class _Idle(NamedTuple):
    """A stretch in which neither is computed nor said anything, and what is said behind it."""

    start: float
    end: float
    behind: Op | None


def standing(timeline: Timeline, rank: int, bubbles: Bubbles | None) -> dict[Cause, float]:
    """Return for how long the compute stream of a rank stands still, by cause.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    bubbles : Bubbles or None
        Of the timeline; None where there is no pipeline.

    Notes
    -----
    A moment in the bubble of a pipeline is part of it whatever else is said meanwhile: that hides
    behind it. Only the sends and receives that bring micro-batches count as communication there.
    """
    found: dict[Cause, list[float]] = defaultdict(list)
    for since, until in held(timeline, rank):
        found["host", ""].append(until - since)
    said = sorted(exposed(timeline, rank), key=lambda interval: interval.start)
    in_bubble = _Overlap(bubbles, rank)
    lanes = timeline.programs.of(rank).lanes
    for start, end, op in said:
        hidden = 0.0 if PP in lanes[op.lane].axes else in_bubble(start, end)
        uneven = _uneven(op) * (end - start - hidden)
        found["bubble", ""].append(hidden)
        found["uneven", _named(op)].append(uneven)
        found["communication", _named(op)].append(end - start - hidden - uneven)
    for idle in _idle(timeline, rank, said):
        hidden = in_bubble(idle.start, idle.end)
        found["bubble", ""].append(hidden)
        found["waiting", _awaited(idle)].append(idle.end - idle.start - hidden)
    sums = ((cause, fsum(seconds)) for cause, seconds in found.items())
    return {cause: seconds for cause, seconds in sums if seconds}


class _Overlap:
    """How much of a stretch lies in the bubble of a rank."""

    def __init__(self, bubbles: Bubbles | None, rank: int) -> None:
        waits = [] if bubbles is None else list(bubbles.waits(rank))
        # Seconds in the bubble until a moment: a line that rises in every wait, by its length.
        self._moments = np.array([0.0, *(t for wait in waits for t in (wait.start, wait.end))])
        steps = [0.0, *(s for wait in waits for s in (0.0, wait.end - wait.start))]
        self._until = np.cumsum(steps)

    def __call__(self, start: float, end: float) -> float:
        """Return the seconds."""
        if len(self._moments) == 1:
            return 0.0
        before, until = np.interp([start, end], self._moments, self._until)
        return min(end - start, float(until - before))


def _idle(timeline: Timeline, rank: int, said: list[Interval]) -> Iterator[_Idle]:
    """Yield the parts of gaps in which nothing is said; `said` in order of time."""
    place = 0
    for start, end in gaps(timeline, rank):
        moment = start
        while place < len(said) and said[place].start < end:
            if said[place].start > moment:
                yield _Idle(moment, said[place].start, said[place].op)
            moment = said[place].end
            place += 1
        if end > moment:
            yield _Idle(moment, end, None)


def _uneven(op: Op) -> float:
    """Return the share that a collective takes longer than with messages as large as the mean.

    It ends for all when the largest message has arrived.
    """
    size = op.message.bytes if op.message is not None else 0
    if not isinstance(size, Varying) or not size:
        return 0.0
    return 1 - fsum(size.sizes) / len(size.sizes) / int(size)


def _awaited(idle: _Idle) -> str:
    return "the end of the step" if idle.behind is None else _named(idle.behind)


def _named(op: Op) -> str:
    """Return what communication is called, such as ``"broadcast of weights"``."""
    kind = op.kind.name
    return kind if op.label in ("", kind) else f"{kind} of {op.label}"
