"""Which tokens of a sequence a rank holds: contiguous blocks, or zigzag pairs of chunks."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

#: Half-open ranges of positions, in the order in which they are stored.
Ranges: TypeAlias = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens that a rank holds, as a function of its coordinate on the axis that shards them.

    Parameters
    ----------
    sequence : int
        Tokens of the whole sequence.
    axis : str or None
        The axis over which the sequence is cut; None: every rank holds all of it.
    degree : int
        Size of that axis.
    layout : {"contiguous", "zigzag"}
        Coordinate p holds block p of D; or chunks p and 2D-1-p of 2D, which makes causal work
        equal on all ranks.
    shift : int
        Look at the block of tokens `shift` places further round the axis.
    neighbours : int
        Look at the tokens of so many neighbours as one block, in their logical order.
    """

    sequence: int
    axis: str | None = None
    degree: int = 1
    layout: Literal["contiguous", "zigzag"] = "contiguous"
    shift: int = 0
    neighbours: int = 1

    @property
    def blocks(self) -> int:
        """Number of blocks that the sequence is cut into."""
        return self.degree // self.neighbours

    @property
    def local(self) -> int:
        """Number of tokens held."""
        return self.sequence // self.blocks

    def shifted(self, by: int) -> Tokens:
        """Return the tokens of the block `by` places further round the axis."""
        return replace(self, shift=self.shift + by)

    def together(self, neighbours: int) -> Tokens:
        """Return the tokens of a block of neighbours, in their logical order, held by each."""
        if neighbours == self.degree:
            return self.whole()
        return replace(self, neighbours=neighbours)

    def within(self, neighbours: int) -> Tokens:
        """Return how a block of neighbours cuts its own tokens: as the axis cuts the sequence."""
        return Tokens(self.local * neighbours, self.axis, neighbours, self.layout)

    def whole(self) -> Tokens:
        """Return the whole sequence in its logical order, held by every rank."""
        return Tokens(self.sequence)

    def ranges(self, coordinate: int) -> Ranges:
        """Return the positions held at a coordinate, in storage order."""
        if self.axis is None:
            return ((0, self.sequence),)
        block = (coordinate // self.neighbours + self.shift) % self.blocks
        if self.layout == "contiguous":
            return ((block * self.local, (block + 1) * self.local),)
        chunk, mirror = self.local // 2, 2 * self.blocks - 1 - block
        return ((block * chunk, (block + 1) * chunk), (mirror * chunk, (mirror + 1) * chunk))

    def positions(self, coordinate: int) -> NDArray[np.int64]:
        """Return the positions held at a coordinate, shape (local,)."""
        return np.concatenate([np.arange(a, b) for a, b in self.ranges(coordinate)])

    def gathered(self) -> NDArray[np.int64]:
        """Return the positions in the order in which an all_gather over the axis stores them."""
        return np.concatenate([self.positions(c) for c in range(0, self.degree, self.neighbours)])


@lru_cache(maxsize=4096)
def twice_causal_pairs(queries: Ranges, keys: Ranges) -> int:
    """Return twice the (query, key) pairs that a causal mask leaves.

    A key before its query counts as one pair, a key at the query's own position as half a pair:
    a whole causal square is S^2 / 2. Twice, so that the count is whole.
    """
    return sum(_twice_pairs(a, b, c, d) for a, b in queries for c, d in keys)


def twice_windowed_pairs(queries: Ranges, keys: Ranges, window: int | None) -> int:
    """Return twice the pairs that a causal mask and a window leave; None: no window.

    A query sees the `window` keys that end with its own. Those before them are what a causal mask
    leaves of keys that stand `window` places later.
    """
    pairs = twice_causal_pairs(queries, keys)
    if window is None:
        return pairs
    later = tuple((start + window, end + window) for start, end in keys)
    return pairs - twice_causal_pairs(queries, later)


def _twice_pairs(a: int, b: int, c: int, d: int) -> int:
    """Count for queries in [a, b) and keys in [c, d)."""
    below = max(0, b - max(a, d))  # queries that see all of [c, d)
    first, last = max(a, c), min(b, d)  # queries that see a part: q - c keys and half of their own
    partial = (last - c) ** 2 - (first - c) ** 2 if first < last else 0
    return 2 * below * (d - c) + partial
