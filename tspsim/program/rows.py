"""Rows of tokens in the order of the experts that they go to, and which of them are where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Axes
from tspsim.program.kinds.base import Where
from tspsim.program.varying import Varying
from tspsim.routing import Dealing, dealt


def varying(axes: Axes | None, sizes: Sequence[int]) -> int:
    """Return sizes by coordinate of some axes; one number where they are all the same."""
    return sizes[0] if axes is None or len(set(sizes)) == 1 else Varying(axes, sizes)


@dataclass(frozen=True, slots=True)
class Groups:
    """Rows that lie one expert behind another, as the ranks have them.

    Parameters
    ----------
    counts : tuple of tuple of int
        By coordinate: the rows of every expert there; once, where that is the same everywhere.
    axes : str, tuple of str or None
        The axes of the coordinate.
    """

    counts: tuple[tuple[int, ...], ...]
    axes: Axes | None = None

    @classmethod
    def of_blocks(cls, axes: Axes | None, counts: Sequence[tuple[int, ...]]) -> Groups:
        """Return groups by coordinate, or the same for all where they are."""
        return cls(tuple(counts), axes) if len(set(counts)) > 1 else cls((counts[0],))

    @property
    def experts(self) -> int:
        """Experts of a rank."""
        return len(self.counts[0])

    @property
    def rows(self) -> int:
        """All rows of a rank, varying where they do."""
        return varying(self.axes, [sum(counts) for counts in self.counts])

    @property
    def busiest(self) -> tuple[int, ...]:
        """By coordinate: the rows of the expert that has most."""
        return tuple(max(counts) for counts in self.counts)

    def at(self, where: Where) -> tuple[int, ...]:
        """Return the rows of every expert of a rank."""
        return self.counts[where.coordinate(self.axes)]


@dataclass(frozen=True, slots=True)
class Picked:
    """The rows that a rank sends to experts, of its own tokens or of those it has gathered.

    Parameters
    ----------
    dealing : Dealing
        Of one source.
    batch : int
        Sequences of which it has tokens.
    sources : int
        Sources whose tokens lie here, sequence by sequence one source behind another.
    axes : str, tuple of str or None
        A rank sends what goes to the block of experts that its coordinate stands for; None: all.
    blocks : int
    """

    dealing: Dealing
    batch: int
    sources: int = 1
    axes: Axes | None = None
    blocks: int = 1

    @property
    def rows(self) -> int:
        """How many, varying where that does."""
        kept = np.reshape(self.dealing.kept, (self.blocks, -1)).sum(1) * self.sources
        return varying(self.axes, [int(rows) for rows in kept])

    def order(self, where: Where) -> Order:
        """Return which they are on a rank."""
        return _order(self, where.coordinate(self.axes))


@dataclass(frozen=True, slots=True)
class Order:
    """Which choice every row is of: a token, and the how-manieth of its experts."""

    token: NDArray[np.int64]
    slot: NDArray[np.int64]


@lru_cache(maxsize=256)
def _order(picked: Picked, block: int) -> Order:
    spread, dealing = dealt(picked.dealing), picked.dealing
    mine = spread.expert // (len(dealing.kept) // picked.blocks) == block
    token, slot = spread.rows[mine] % dealing.tokens, spread.rows[mine] // dealing.tokens
    each = dealing.tokens // picked.batch  # tokens of one sequence and source
    source = np.arange(picked.sources)[:, None]
    place = (token // each) * each * picked.sources + source * each + token % each
    by_expert = np.argsort(np.tile(spread.expert[mine], picked.sources), kind="stable")
    return Order(place.reshape(-1)[by_expert], np.tile(slot, picked.sources)[by_expert])
