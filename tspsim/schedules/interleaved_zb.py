"""Interleaved zero bubble: interleaved 1F1B whose weight gradients fill the waits.

ZB-1p of Qi et al., arXiv:2401.10241, over several chunks, as ``torch.distributed.pipelining``
(2.13) has it: half as many forwards ahead as interleaved 1F1B, for the weight gradients take the
time that the others were for.
"""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.parts.alternate import alternate
from tspsim.schedules.parts.base import Size
from tspsim.schedules.parts.groups import Grouped


class InterleavedZeroBubble(Grouped):
    """The schedule.

    Parameters
    ----------
    group_size : int, optional
        As in `Grouped`.
    """

    split = True

    def row(self, size: Size, rank: int) -> Iterator[Action]:
        """Yield what one rank runs."""
        forwards, backwards = self.passes(size, rank)
        ahead = size.ranks - 1 - rank + (size.chunks - 1) * self.group(size)
        return alternate(forwards, backwards, ahead, weights_behind=rank)


SCHEDULE = InterleavedZeroBubble
