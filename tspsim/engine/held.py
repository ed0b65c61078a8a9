"""Where a rank's compute waits for its host: all else that it needs is there, but is not issued."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.engine.timeline import Timeline
from tspsim.program.recorder import HOST
from tspsim.program.types import Op


def held(timeline: Timeline, rank: int) -> list[tuple[float, float]]:
    """Return since when, and until when, compute waits for the host alone; in order of time.

    What the host takes beyond the rank's last op is such a wait too.
    """
    program = timeline.programs.of(rank)
    if HOST not in program.lanes:
        return []
    return [(since, until) for since, until in _stretches(timeline, rank) if until > since]


def _stretches(timeline: Timeline, rank: int) -> Iterator[tuple[float, float]]:
    program, end = timeline.programs.of(rank), timeline.end[rank].tolist()
    number = program.lanes.index(HOST)

    def ends(ops: list[Op]) -> float:
        return max((end[op.index] for op in ops), default=0.0)

    free = 0.0  # when the compute before has ended
    for op, before in zip(program.ops, program.waits, strict=True):
        if op.lane:
            continue
        awaited = [program.ops[index] for index in before]
        issued = [other for other in awaited if other.lane == number]
        if issued:
            yield max(free, ends([o for o in awaited if o.lane != number])), ends(issued)
        free = end[op.index]
    yield ends([op for op in program.ops if op.lane != number]), max(end)
