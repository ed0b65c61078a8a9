"""A schedule from outside of tspsim, in one file: 1F1B with more forwards ahead."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate, one_by_one
from tspsim.schedules.parts.base import Schedule, Size


class Eager(Schedule):
    """The schedule.

    Parameters
    ----------
    ahead : int
        Forwards ahead for each stage that follows.
    """

    ahead: int = Field(2, ge=1)

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        passes = one_by_one(rank, size.microbatches)
        return alternate(passes, passes, ahead=self.ahead * (size.ranks - 1 - rank))


SCHEDULE = Eager
