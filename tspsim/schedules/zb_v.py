"""ZB-V: two chunks per rank in the shape of a V, so that all ranks hold alike, as much as 1F1B.

Qi et al., arXiv:2401.10241, section 6, and arXiv:2405.15362; the order is that of
``torch.distributed.pipelining`` (2.13). The last stage lies on the first rank: a micro-batch goes
down the ranks and up again, and its backward starts where its forward began. Where forward, input
gradient and weight gradients take equal times, no rank waits from its first action to its last.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import fold
from tspsim.schedules.parts.base import Schedule, Size
from tspsim.schedules.parts.phrases import Phrase, spoken


class ZeroBubbleV(Schedule):
    """The schedule; it has no options."""

    split = True
    chunks = (2, 2)

    def placement(self, size: Size) -> tuple[int, ...]:
        """Return the rank that each stage lies on."""
        return fold(size.ranks)

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs: of fewer micro-batches, what is theirs in a full pipeline."""
        full = size._replace(microbatches=max(size.microbatches, 2 * size.ranks - 1))
        for action in spoken(phrases(full, rank), (rank, 0), (2 * size.ranks - 1 - rank, 0)):
            if isinstance(action, Action) and action.microbatch < size.microbatches:
                yield action


SCHEDULE = ZeroBubbleV


def phrases(size: Size, rank: int) -> Iterator[Phrase]:
    """Yield what a rank repeats, of ``2 * ranks - 1`` micro-batches or more."""
    after = size.ranks - rank  # this rank and those after it
    yield 2 * after - 1, "F0"
    yield rank, "F1 F0"
    yield after, "F1 I1 W1"
    yield size.microbatches - size.ranks - after + 1, "F0 I0 W0 F1 I1 W1"
    yield after - 1, "I0 W0 F1 I1 W1"
    yield rank, "I0 I1"
    yield after, "I0 W0"
    yield rank, "W1"
    yield rank, "W0"
