"""Rows of tokens in the order of the experts that they go to, and which of them are where."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Axes
from tspsim.program.kinds.base import Where
from tspsim.program.varying import Varying
from tspsim.routing import Dealing, alike, dealt


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


class Copies(Protocol):
    """Rows that are copies of tokens, or of rows that have come."""

    @property
    def rows(self) -> int:
        """How many, varying where that does."""

    def order(self, where: Where) -> Order:
        """Return what every row is a copy of, on a rank."""

    def targets(self, where: Where) -> int:
        """Return how many tokens, or rows, there are to be copied."""


class Meant(Copies, Protocol):
    """Copies that go to ranks, for some of the choices each."""

    def meant(self, where: Where) -> NDArray[np.bool_]:
        """Return, by row and slot, whether that choice lies at the row's receiver."""


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

    def targets(self, where: Where) -> int:  # noqa: ARG002
        """Return how many tokens they are of."""
        return self.dealing.tokens * self.sources


@dataclass(frozen=True, slots=True)
class Sent:
    """The rows that a rank sends where a token goes but once to every rank of its experts.

    Parameters
    ----------
    dealing : Dealing
        Of one source.
    degree : int
        Ranks that hold all experts.
    axes : str, tuple of str or None
        A rank sends to those that its coordinate stands for, a part of `parts`; None: to all.
    parts : int
    """

    dealing: Dealing
    degree: int
    axes: Axes | None = None
    parts: int = 1

    @property
    def rows(self) -> int:
        """How many, varying where that does."""
        counts = np.reshape(distinct(self.dealing, self.degree), (self.parts, -1)).sum(1)
        return varying(self.axes, [int(rows) for rows in counts])

    def order(self, where: Where) -> Order:
        """Return which they are on a rank, receiver by receiver; of slots nothing is said."""
        found, mine = self._mine(where)
        token = np.concatenate([found[block][0] for block in mine])
        return Order(token, np.zeros_like(token))

    def targets(self, where: Where) -> int:  # noqa: ARG002
        """Return how many tokens they are of."""
        return self.dealing.tokens

    def meant(self, where: Where) -> NDArray[np.bool_]:
        """Return, by row and slot, whether that choice lies at the row's receiver."""
        found, mine = self._mine(where)
        return np.concatenate([found[block][1] for block in mine])

    def _mine(self, where: Where) -> tuple[_Distinct, range]:
        each, part = self.degree // self.parts, where.coordinate(self.axes)
        return _distinct(self.dealing, self.degree), range(part * each, (part + 1) * each)


@dataclass(frozen=True, slots=True)
class Arrived:
    """Rows by expert, of those that have come once each: which of these every one is a copy of.

    Parameters
    ----------
    dealing : Dealing
        Of one source.
    degree : int
        Ranks that hold all experts.
    senders : int
    axes : str, tuple of str or None
        Of the coordinate that says which experts are here.
    """

    dealing: Dealing
    degree: int
    senders: int
    axes: Axes | None

    @property
    def rows(self) -> int:
        """How many, varying where that does."""
        kept = np.reshape(self.dealing.kept, (self.degree, -1)).sum(1) * self.senders
        return varying(self.axes, [int(rows) for rows in kept])

    @property
    def came(self) -> int:
        """How many have come."""
        counts = distinct(self.dealing, self.degree)
        return varying(self.axes, [self.senders * n for n in counts])

    def targets(self, where: Where) -> int:
        """Return how many have come to a rank."""
        return self.senders * distinct(self.dealing, self.degree)[where.coordinate(self.axes)]

    def order(self, where: Where) -> Order:
        """Return which of those that have come every row is, and of which choice."""
        block = where.coordinate(self.axes)
        tokens, meant = _distinct(self.dealing, self.degree)[block]
        row, slot = np.nonzero(meant)
        expert = dealt(self.dealing).experts[tokens[row], slot]
        came = row + np.arange(self.senders)[:, None] * len(tokens)
        by_expert = np.argsort(np.tile(expert, self.senders), kind="stable")
        return Order(came.reshape(-1)[by_expert], np.tile(slot, self.senders)[by_expert])


@dataclass(frozen=True, slots=True)
class Forwarded:
    """Rows that a rank sends on inside its node: of those that have come to the node once each.

    Parameters
    ----------
    dealing : Dealing
        Of one source.
    nodes, each : int
        Nodes that hold all experts, and ranks of a node.
    axes : str or tuple of str
        Of the coordinate that says which node this is.
    """

    dealing: Dealing
    nodes: int
    each: int
    axes: Axes

    @property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """By node: the rows that go to every rank of it."""
        counts = np.reshape(distinct(self.dealing, self.nodes * self.each), (self.nodes, -1))
        return tuple(tuple(int(self.nodes * n) for n in row) for row in counts)

    @property
    def rows(self) -> int:
        """How many, varying where that does."""
        return varying(self.axes, [sum(row) for row in self.blocks])

    def targets(self, where: Where) -> int:
        """Return how many have come to a rank."""
        return self.nodes * distinct(self.dealing, self.nodes)[where.coordinate(self.axes)]

    def order(self, where: Where) -> Order:
        """Return which of those that have come they are, receiver by receiver."""
        token = np.concatenate([row for row, _ in self._sent(where)])
        return Order(token, np.zeros_like(token))

    def meant(self, where: Where) -> NDArray[np.bool_]:
        """Return, by row and slot, whether that choice lies at the row's receiver."""
        return np.concatenate([meant for _, meant in self._sent(where)])

    def _sent(self, where: Where) -> Iterator[tuple[NDArray[np.int64], NDArray[np.bool_]]]:
        """Yield, by receiver, the rows of all senders and what they are meant for."""
        node = where.coordinate(self.axes)
        here = _distinct(self.dealing, self.nodes)[node][0]
        sender = np.arange(self.nodes)[:, None] * len(here)
        ranks = _distinct(self.dealing, self.nodes * self.each)
        for tokens, meant in ranks[node * self.each : (node + 1) * self.each]:
            rows = np.searchsorted(here, tokens) + sender
            yield rows.reshape(-1), np.tile(meant, (self.nodes, 1))


#: By rank of experts: the tokens that go there, and which of their choices lie there.
_Distinct = tuple[tuple[NDArray[np.int64], NDArray[np.bool_]], ...]


def distinct(dealing: Dealing, degree: int) -> tuple[int, ...]:
    """Return how many tokens of a source go to each of so many ranks of experts."""
    experts, times = alike(dealing)
    rank = experts // (len(dealing.kept) // degree)  # -1 stays -1
    return tuple(int(times[(rank == block).any(1)].sum()) for block in range(degree))


@lru_cache(maxsize=64)
def _distinct(dealing: Dealing, degree: int) -> _Distinct:
    spread, each = dealt(dealing), len(dealing.kept) // degree
    rank = np.where(spread.kept, spread.experts // each, -1)
    found = []
    for block in range(degree):
        meant = rank == block
        tokens = np.flatnonzero(meant.any(1))
        found.append((tokens, meant[tokens]))
    return tuple(found)


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
