"""1F1B: as many forwards ahead as stages follow, then one forward and one backward in turn.

Known as PipeDream-Flush, too: Narayanan et al., arXiv:2104.04473, section 2.2.1. A rank holds the
activations of as many micro-batches as there are stages from it to the end, however many there are.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate, one_by_one
from tspsim.schedules.parts.base import Schedule, Size

NAME = "1f1b"


class OneForwardOneBackward(Schedule):
    """The schedule; it has no options."""

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        passes = one_by_one(rank, size.microbatches)
        return alternate(passes, passes, ahead=size.ranks - 1 - rank)


SCHEDULE = OneForwardOneBackward
