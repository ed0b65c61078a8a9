"""ZB-H2: twice the forwards ahead of ZB-H1, so that no rank waits, in twice the memory.

Qi et al., arXiv:2401.10241, section 2.2. Nobody waits where forward, input gradient and weight
gradients take equal times, from the first action of a rank to its last: the steps of the optimizer
then start one after another, and what they have to agree on (the norm of the gradient, overflow) is
checked afterwards (section 4).
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate, one_by_one
from tspsim.schedules.parts.base import Schedule, Size


class ZeroBubbleH2(Schedule):
    """The schedule; it has no options."""

    split = True

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        passes = one_by_one(rank, size.microbatches)
        return alternate(passes, passes, ahead=2 * (size.ranks - 1 - rank), weights_behind=2 * rank)


SCHEDULE = ZeroBubbleH2
