"""ZB-H1: 1F1B whose weight gradients fill the waits, in the memory of 1F1B.

Qi et al., arXiv:2401.10241, section 2.1. Rank r puts weight gradients off by r micro-batches, so
that every rank holds what the first one does.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate, one_by_one
from tspsim.schedules.parts.base import Schedule, Size


class ZeroBubbleH1(Schedule):
    """The schedule; it has no options."""

    split = True

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        passes = one_by_one(rank, size.microbatches)
        return alternate(passes, passes, ahead=size.ranks - 1 - rank, weights_behind=rank)


SCHEDULE = ZeroBubbleH1
