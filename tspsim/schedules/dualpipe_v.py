"""DualPipeV: DualPipe cut in half, two chunks per rank in the shape of a V, one copy of the layers.

From https://github.com/deepseek-ai/DualPipe; the order is that of ``torch.distributed.pipelining``
(2.13). In the middle of a step every rank runs a forward and a backward of different micro-batches
as one, so that what one of them sends travels behind what the other computes.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.files.errors import Problem
from tspsim.schedules.orders.actions import Action, Pair
from tspsim.schedules.orders.order import fold
from tspsim.schedules.parts.base import MICROBATCHES, Schedule, Size
from tspsim.schedules.parts.phrases import Phrase, spoken


class DualPipeV(Schedule):
    """The schedule; it has no options."""

    split = True
    chunks = (2, 2)

    def placement(self, size: Size) -> tuple[int, ...]:
        """Return the rank that each stage lies on."""
        return fold(size.ranks)

    def problems(self, size: Size) -> Iterator[Problem]:
        """Yield why a pipeline of this size cannot have this schedule."""
        yield from super().problems(size)
        if size.microbatches < 2 * size.ranks:
            need = f"at least {2 * size.ranks}, two for each of {size.ranks} ranks"
            message = f"{size.microbatches}; dualpipe_v needs {need}"
            yield Problem(MICROBATCHES, message)

    def row(self, size: Size, rank: int) -> Iterator[Action | Pair]:
        """Yield what one rank runs."""
        return spoken(phrases(size, rank), (rank, 0), (2 * size.ranks - 1 - rank, 0))


SCHEDULE = DualPipeV


def phrases(size: Size, rank: int) -> Iterator[Phrase]:
    """Yield what a rank repeats: eight parts, as the authors number them."""
    after = size.ranks - rank - 1
    both = size.microbatches - 2 * size.ranks + rank + 1
    yield 2 * after, "F0"
    yield rank + 1, "F0 F1"
    yield after, "I1 W F1"
    if not after:  # apart, the last rank's first two wait for less
        yield 1, "F0 B1 F1+B0"
    yield both - (not after), "F0+B1 F1+B0"
    yield after, "B1 F1+B0"
    yield from _ending(rank)
    yield after, "W I0"
    yield rank + 1, "W"


def _ending(rank: int) -> Iterator[Phrase]:
    """Yield the last backwards of both stages: whole, then, for the second half, input alone."""
    whole, odd = divmod(rank + 1, 2)
    yield whole, "B1 B0"
    if odd:
        yield 1, "B1 I0"
    yield whole, "I1 I0"
