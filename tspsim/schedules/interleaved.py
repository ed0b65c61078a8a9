"""Interleaved 1F1B: every rank has several chunks, so that the pipeline fills in smaller steps.

Narayanan et al., arXiv:2104.04473, section 2.2.2; group size and warm-up as in Megatron-Core 0.16
(``forward_backward_pipelining_with_interleaving``).
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate
from tspsim.schedules.parts.base import Size
from tspsim.schedules.parts.groups import Grouped


class Interleaved(Grouped):
    """The schedule.

    Parameters
    ----------
    group_size : int, optional
        As in `Grouped`.
    """

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        forwards, backwards = self.passes(size, rank)
        ahead = 2 * (size.ranks - 1 - rank) + (size.chunks - 1) * self.group(size)
        return alternate(forwards, backwards, ahead)


SCHEDULE = Interleaved
