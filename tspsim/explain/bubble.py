"""Why the compute of a pipeline's rank waits for micro-batches."""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from typing import NamedTuple

from tspsim.engine.bubble import Bubble, Bubbles, Wait
from tspsim.engine.timeline import Timeline
from tspsim.program.partners import Partners


class BubbleCauses(NamedTuple):
    """The bubble of the rank that waits longest, and what blocks the heads of lines.

    Attributes
    ----------
    rank : int
    bubble : Bubble
    head_of_line : float
        Most seconds of any stage's bubble in which what was awaited could have travelled, had its
        send and its receive not stood behind others in their streams. The others wait for that
        stage in turn.
    blocked : int
        The rank whose bubble that is in.
    """

    rank: int
    bubble: Bubble
    head_of_line: float
    blocked: int

    @property
    def named(self) -> dict[str, float]:
        """The seconds that are not 0, as people read them."""
        found = {
            "before its first pass": self.bubble.fill,
            "between its passes": self.bubble.between,
            "after its last pass": self.bubble.drain,
            f"rank {self.blocked}: behind others in a stream": self.head_of_line,
        }
        return {name: seconds for name, seconds in found.items() if seconds}


def bubble_causes(timeline: Timeline, rank: int) -> BubbleCauses:
    """Return what the bubble of a rank consists of, and what blocks a rank of any stage."""
    bubbles = Bubbles(timeline)
    behind = {
        stage: fsum(_head_of_line(timeline, stage, bubbles.waits(stage)))
        for stage in timeline.programs.first_ranks
    }
    blocked = max(behind, key=lambda stage: behind[stage])
    return BubbleCauses(rank, bubbles.of(rank), behind[blocked], blocked)


def _head_of_line(timeline: Timeline, rank: int, waits: Iterator[Wait]) -> Iterator[float]:
    """Yield of every wait how long both ends of a message were ready, but not their streams."""
    partners = Partners()
    for wait in waits:
        if wait.transfer is not None:
            ready = max(_ready(timeline, *end) for end in _ends(timeline, partners, rank, wait))
            begun = float(timeline.start[rank][wait.transfer])
            yield max(0.0, min(begun, wait.end) - max(ready, wait.start))


def _ends(
    timeline: Timeline, partners: Partners, rank: int, wait: Wait
) -> Iterator[tuple[int, int]]:
    """Yield the ranks and ops of both ends of the message that was awaited."""
    assert wait.transfer is not None
    program = timeline.programs.of(rank)
    op = program.ops[wait.transfer]
    assert op.message is not None
    group = program.lanes[op.lane].members(timeline.mesh, rank)
    other = group[(group.index(rank) + op.message.offset) % len(group)]
    yield rank, op.index
    yield other, partners.find(program, op.index, timeline.programs.of(other))


def _ready(timeline: Timeline, rank: int, op: int) -> float:
    """Return when all that an op waits for on other streams has ended."""
    waits = timeline.programs.of(rank).waits[op]
    return max((float(timeline.end[rank][before]) for before in waits), default=0.0)
