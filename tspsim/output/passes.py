"""When the passes of micro-batches through the stages of a rank began and ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from tspsim.engine.timeline import Timeline
from tspsim.program.types import Program


class Pass(NamedTuple):
    """A pass of a micro-batch through a stage, from its first compute op to its last one.

    Attributes
    ----------
    kind : {"F", "I", "W", "B"}
    stage : int
    chunk : int
        Which of the stages of its rank that is, from 0.
    micro_batch : int
    start, end : float
        Seconds.
    """

    kind: str
    stage: int
    chunk: int
    micro_batch: int
    start: float
    end: float


def stages_of(program: Program) -> tuple[int, ...]:
    """Return the stages that a rank's actions go through, ascending."""
    return tuple(sorted({recorded.action.stage for recorded in program.actions}))


def passes(timeline: Timeline, rank: int) -> Iterator[Pass]:
    """Yield the passes of a rank that compute something, in order."""
    program, start, end = timeline.programs.of(rank), timeline.start[rank], timeline.end[rank]
    stages = stages_of(program)
    compute = np.array([op.index for op in program.ops if op.lane == 0], dtype=np.intp)
    for (kind, stage, micro_batch), first, stop in program.actions:
        begins, ends = np.searchsorted(compute, (first, stop)).tolist()
        if begins < ends:
            times = float(start[compute[begins]]), float(end[compute[ends - 1]])
            yield Pass(kind, stage, stages.index(stage), micro_batch, *times)


def named(rank: int, stages: tuple[int, ...]) -> str:
    """Return what a rank is called, with the stages that lie on it: ``"rank 8: stages 1, 6"``."""
    return f"rank {rank}: {told(stages)}" if stages else f"rank {rank}"


def told(stages: tuple[int, ...]) -> str:
    """Return stages in words: ``"stages 1, 6"``."""
    return f"stage{'s' if len(stages) > 1 else ''} {', '.join(map(str, stages))}"
