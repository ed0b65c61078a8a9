"""What a pipeline's chart consists of: of every stage its passes, its bubble, the step's end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.bubble import Bubbles
from tspsim.engine.timeline import Timeline
from tspsim.mesh import PP
from tspsim.output.passes import Pass, passes, stages_of
from tspsim.output.plots.waits import NOTHING
from tspsim.program.types import Program

#: A start and an end, in seconds.
Stretch = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Lane:
    """What a rank does.

    Parameters
    ----------
    rank : int
    stages : tuple of int
        Those of its actions.
    bars : tuple of Pass
    bubble : tuple of Stretch
    updates : tuple of Stretch
        Compute beside the actions: the optimizer.
    sums : tuple of Stretch
        Communication beside the actions, but for what goes from stage to stage: gradients that are
        summed between replicas and ends of the model, and weights that are gathered.
    """

    rank: int
    stages: tuple[int, ...]
    bars: tuple[Pass, ...]
    bubble: tuple[Stretch, ...]
    updates: tuple[Stretch, ...]
    sums: tuple[Stretch, ...]


def lanes(timeline: Timeline) -> list[Lane]:
    """Return what the first rank of every role does, in the order of roles."""
    bubbles = Bubbles(timeline) if len(timeline.programs.roles) > 1 else None
    return [_lane(timeline, rank, bubbles) for rank in timeline.programs.first_ranks]


def _lane(timeline: Timeline, rank: int, bubbles: Bubbles | None) -> Lane:
    program, start, end = timeline.programs.of(rank), timeline.start[rank], timeline.end[rank]
    compute = np.array([op.index for op in program.ops if op.lane == 0], dtype=np.intp)
    least = NOTHING * timeline.step_time

    def merged(ops: NDArray[np.intp]) -> tuple[Stretch, ...]:
        return tuple(_merged(zip(start[ops].tolist(), end[ops].tolist(), strict=True), least))

    updates, sums = _beside(program, compute)
    waits = bubbles.waits(rank) if bubbles else ()
    bubble = tuple((wait.start, wait.end) for wait in waits if wait.end - wait.start > least)
    drawn = tuple(passes(timeline, rank))
    return Lane(rank, stages_of(program), drawn, bubble, merged(updates), merged(sums))


def _beside(
    program: Program, compute: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the compute and the communication that belong to no action."""
    of_action = np.zeros(len(program.ops), dtype=np.bool_)
    for _, first, stop in program.actions:
        of_action[first:stop] = True
    between = [PP in lane.axes for lane in program.lanes]
    said = [
        op.index
        for op in program.ops
        if op.message is not None and not (between[op.lane] and op.half)
    ]
    sums = np.array(said, dtype=np.intp)
    return compute[~of_action[compute]], sums[~of_action[sums]]


def _merged(stretches: Iterable[Stretch], least: float) -> Iterator[Stretch]:
    """Yield stretches of time in order, those that touch as one; what takes no time is left out."""
    now: Stretch | None = None
    for start, end in sorted(stretches):
        if end <= start:
            continue
        if now and start - now[1] <= least:
            now = now[0], max(now[1], end)
        else:
            if now:
                yield now
            now = start, end
    if now:
        yield now
