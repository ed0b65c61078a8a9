"""Looped breadth-first: all micro-batches through a chunk before the next chunk.

Lamy-Poirier, arXiv:2211.05953. Backward goes through chunks and micro-batches in reverse.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.base import Schedule, Size


class LoopedBreadthFirst(Schedule):
    """The schedule; it has no options."""

    chunks = (2, None)

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        passes = [
            (chunk * size.ranks + rank, microbatch)
            for chunk in range(size.chunks)
            for microbatch in range(size.microbatches)
        ]
        yield from (Action("F", *which) for which in passes)
        yield from (Action("B", *which) for which in reversed(passes))


SCHEDULE = LoopedBreadthFirst
