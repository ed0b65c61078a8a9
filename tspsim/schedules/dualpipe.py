"""DualPipe: two pipelines in opposite directions over the same ranks, each with all the layers.

DeepSeek-V3, arXiv:2412.19437, section 3.2.1, and https://github.com/deepseek-ai/DualPipe. The two
halves of the ranks do alike: what rank r does for one pipeline, its mirror image does for the
other. Each is a rank of DualPipeV of half as many ranks, whose second stage belongs to the other
pipeline, so the order is made from that one.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.files.errors import Problem
from tspsim.schedules import dualpipe_v
from tspsim.schedules.orders.actions import Action, Pair
from tspsim.schedules.orders.order import fold
from tspsim.schedules.parts.base import MICROBATCHES, RANKS, Schedule, Size
from tspsim.schedules.parts.phrases import spoken


class DualPipe(Schedule):
    """The schedule; it has no options.

    Stage ``s`` of the first pipeline lies on rank ``s``; that of the second, ``s + ranks``, on rank
    ``ranks - 1 - s``. The first half of the micro-batches takes the first pipeline.
    """

    split = True
    chunks = (2, 2)
    pipelines = 2

    def placement(self, size: Size) -> tuple[int, ...]:
        """Return the rank that each stage lies on: one pipeline goes down, the other up."""
        return fold(size.ranks)

    def problems(self, size: Size) -> Iterator[Problem]:
        """Yield why a pipeline of this size cannot have this schedule."""
        yield from super().problems(size)
        ranks, m = size.ranks, size.microbatches
        if ranks % 2:
            message = f"{ranks}; dualpipe needs an even number: {ranks - 1} or {ranks + 1}"
            yield Problem(RANKS, message)
        if m % 2 or m < 2 * ranks:
            message = f"{m}; dualpipe needs an even number, at least {2 * ranks}"
            yield Problem(MICROBATCHES, message)

    def row(self, size: Size, rank: int) -> Iterator[Action | Pair]:
        """Yield what one rank runs."""
        mirror = size.ranks - 1 - rank
        half = Size(size.ranks // 2, size.microbatches // 2, 2)
        held = (rank, 0), (size.ranks + mirror, half.microbatches)  # of either pipeline
        first, second = held if rank < mirror else reversed(held)
        return spoken(dualpipe_v.phrases(half, min(rank, mirror)), first, second)


SCHEDULE = DualPipe
