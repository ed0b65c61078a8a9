"""GPipe: all forwards, then all backwards (Huang et al., arXiv:1811.06965)."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.base import Schedule, Size


class GPipe(Schedule):
    """The schedule; it has no options."""

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        yield from (Action("F", rank, microbatch) for microbatch in range(size.microbatches))
        yield from (Action("B", rank, microbatch) for microbatch in range(size.microbatches))


SCHEDULE = GPipe
