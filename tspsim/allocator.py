"""The caching allocator of torch: what it takes from a device for the blocks that live there.

Sizes are rounded up to blocks. A block comes from the smallest free one that is large enough; where
there is none, a segment is taken from the device, and what the block leaves of it stays free for
others. What is freed joins its free neighbours, and goes back to the device only when that has no
room for another segment. Rules and sizes are those of ``c10/cuda/CUDACachingAllocator.cpp`` and its
configuration with nothing set (pytorch.org/docs, "CUDA semantics", memory management); everything
is on one stream, as what the collectives of torch write is.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from math import inf
from typing import NamedTuple

#: Sizes are multiples of this: ``kMinBlockSize``.
BLOCK = 512
#: Blocks up to this come from segments of their own: ``kSmallSize``, ``kSmallBuffer``.
SMALL, SMALL_SEGMENT = 2**20, 2 * 2**20
#: Larger ones below this share segments: ``kMinLargeAlloc``, ``kLargeBuffer``.
LARGE, LARGE_SEGMENT = 10 * 2**20, 20 * 2**20
#: From there on a segment is a multiple of this: ``kRoundLarge``.
ROUND = 2 * 2**20


class _Block(NamedTuple):
    size: int
    place: int
    small: bool


class CachingAllocator:
    """Blocks, and the segments that they lie in.

    Parameters
    ----------
    limit : float
        Bytes that the device has: to stay below, segments without a block are given back.

    Attributes
    ----------
    taken, most : int
        Bytes of all segments, now and at most.
    segments : dict of int to int
        Bytes of every segment that is held, by its place.
    """

    def __init__(self, limit: float = inf) -> None:
        self.taken = self.most = 0
        self._limit, self._next = limit, 0
        self.segments: dict[int, int] = {}
        self._free: tuple[list[_Block], list[_Block]] = ([], [])  # large and small, by size
        self._begins: dict[int, _Block] = {}  # free blocks by where they begin, and end
        self._ends: dict[int, _Block] = {}

    def allocate(self, size: int) -> _Block:
        """Return a block of at least so many bytes."""
        size = rounded(size)
        small = size <= SMALL
        free = self._free[small]
        at = bisect_left(free, _Block(size, -1, small))
        block = self._out(free[at]) if at < len(free) else self._segment(size, small)
        left = block.size - size
        if left >= BLOCK if small else left > SMALL:
            self._in(_Block(left, block.place + size, small))
            return _Block(size, block.place, small)
        return block

    def free(self, block: _Block) -> None:
        """Give a block back; free neighbours in its segment become one."""
        size, place, small = block
        if before := self._ends.get(place):
            self._out(before)
            size, place = size + before.size, before.place
        if after := self._begins.get(place + size):
            self._out(after)
            size += after.size
        self._in(_Block(size, place, small))

    def _segment(self, size: int, small: bool) -> _Block:
        size = segment(size)
        if self.taken + size > self._limit:
            self._give_back()
        self.taken += size
        self.most = max(self.most, self.taken)
        place, self._next = self._next, self._next + size + BLOCK  # no two are neighbours
        self.segments[place] = size
        return _Block(size, place, small)

    def _give_back(self) -> None:
        for block in [*self._free[0], *self._free[1]]:
            if self.segments.get(block.place) == block.size:
                self._out(block)
                self.taken -= self.segments.pop(block.place)

    def _in(self, block: _Block) -> None:
        insort(self._free[block.small], block)
        self._begins[block.place] = self._ends[block.place + block.size] = block

    def _out(self, block: _Block) -> _Block:
        free = self._free[block.small]
        del free[bisect_left(free, block)]
        del self._begins[block.place], self._ends[block.place + block.size]
        return block


def rounded(size: int) -> int:
    """Return the bytes of the block that an allocation gets."""
    return max(-(-size // BLOCK), 1) * BLOCK


def segment(size: int) -> int:
    """Return the bytes of a segment that is taken for a block."""
    if size <= SMALL:
        return SMALL_SEGMENT
    return LARGE_SEGMENT if size < LARGE else -(-size // ROUND) * ROUND


class Life(NamedTuple):
    """Bytes that are allocated at a moment and freed at another, or never: infinity."""

    birth: float
    death: float
    size: int


def taken(lives: Iterable[Life], limit: float = inf) -> int:
    """Return the most that the allocator ever takes from the device.

    Parameters
    ----------
    lives : iterable of Life
        Those that begin together are allocated in this order, after what ends then is freed.
    limit : float
        Bytes that the device has for it.
    """
    found = list(lives)
    events = [(life.birth, True, i) for i, life in enumerate(found)]
    events += [(life.death, False, i) for i, life in enumerate(found) if life.death < inf]
    allocator, blocks = CachingAllocator(limit), dict[int, _Block]()
    for _, born, i in sorted(events):
        if born:
            blocks[i] = allocator.allocate(found[i].size)
        else:
            allocator.free(blocks.pop(i))
    return allocator.most
