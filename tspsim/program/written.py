"""What has been recorded so far: ops, what they wait for, and buffers."""

from __future__ import annotations

from tspsim.program.ledger import Slots
from tspsim.program.pieces import Pieces, Stamp
from tspsim.program.types import Buffer, Op


class Written:
    """What has been recorded so far.

    Attributes
    ----------
    ops : Pieces of Op
    waits : Pieces of tuple of int
        By op, see `Program.waits`.
    buffers : Pieces of Buffer
    pools : list of Slots or None
        By buffer, where it takes a slot.
    """

    def __init__(self) -> None:
        buffers: Pieces[Buffer] = Pieces(_buffers)
        self.ops: Pieces[Op] = Pieces(lambda stamp: stamp.template.ops_of(stamp, buffers))
        self.waits: Pieces[tuple[int, ...]] = Pieces(_waits)
        self.buffers = buffers
        self.pools: list[Slots | None] = []

    def stamp(self, stamp: Stamp) -> None:
        """Add what a stamp stands for."""
        template = stamp.template
        self.ops.stamp(stamp, len(template.ops))
        self.waits.stamp(stamp, len(template.ops))
        self.buffers.stamp(stamp, len(template.buffers))
        self.pools.extend(template.pools)


def _buffers(stamp: Stamp) -> list[Buffer]:
    return stamp.template.buffers_of(stamp)


def _waits(stamp: Stamp) -> list[tuple[int, ...]]:
    return stamp.template.waits_of(stamp)
