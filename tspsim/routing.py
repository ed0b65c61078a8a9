"""Routing: how many tokens go to every expert, and which. An input, the same for all readings.

Every source of tokens (a rank, or ranks that hold the same ones) deals its own in the same way, so
that sizes of messages and the work of experts follow from the counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tspsim.experts import Experts

Kind = Literal["balanced", "power_law", "table"]


@dataclass(frozen=True, slots=True)
class Dealing:
    """How the tokens of one source are dealt to the experts of a layer.

    Parameters
    ----------
    tokens, active : int
        Tokens of the source, and experts that each goes to.
    dealt : tuple of int
        By expert: how often it is chosen.
    kept : tuple of int
        By expert: how many of these it takes; the others are dropped.
    """

    tokens: int
    active: int
    dealt: tuple[int, ...]
    kept: tuple[int, ...]

    @property
    def rows(self) -> int:
        """Rows that are sent to experts."""
        return sum(self.kept)

    @property
    def shares(self) -> tuple[float, ...]:
        """By expert: its share of all choices."""
        return tuple(count / (self.tokens * self.active) for count in self.dealt)


@dataclass(frozen=True, slots=True)
class Dealt:
    """Which rows go where: of the choices of a source in the order of their experts.

    Parameters
    ----------
    experts : ndarray of int, shape (tokens, active)
        The experts of every token.
    kept : ndarray of bool, shape (tokens, active)
        Whether they take it.
    rows : ndarray of int, shape (rows,)
        For every row that is sent, in the order of experts: ``slot * tokens + token``.
    expert : ndarray of int, shape (rows,)
        The expert of every row.
    """

    experts: NDArray[np.int64]
    kept: NDArray[np.bool_]
    rows: NDArray[np.int64]
    expert: NDArray[np.int64]


@lru_cache(maxsize=256)
def dealt(dealing: Dealing) -> Dealt:
    """Return which token goes to which experts.

    The choices stand in the order of their experts, ``tokens`` in a row: token t has those at t, t
    + tokens, t + 2 tokens... No expert is chosen more often than there are tokens, so these differ.
    """
    n, k = dealing.tokens, dealing.active
    expert = np.repeat(np.arange(len(dealing.dealt)), dealing.dealt)
    first = np.repeat(np.cumsum((0, *dealing.dealt[:-1])), dealing.dealt)
    taken = np.arange(n * k) - first < np.repeat(dealing.kept, dealing.dealt)
    by_token = expert.reshape(k, n).T, taken.reshape(k, n).T
    return Dealt(*by_token, np.flatnonzero(taken), expert[taken])


@dataclass(frozen=True, slots=True)
class Routing:
    """How tokens spread over the experts of every layer.

    Parameters
    ----------
    kind : {"balanced", "power_law", "table"}
    exponent : float
        Of a power law: the i-th expert has a share of ``i ** -exponent``; which one is the i-th
        is drawn anew for every layer.
    seed : int
        Of these draws.
    table : tuple of (int, tuple of int)
        Tokens of every expert, by layer.
    capacity : float or None
        An expert takes so many times the mean of what it gets from a source; None: all of it
        (dropless).
    """

    kind: Kind = "balanced"
    exponent: float = 1.0
    seed: int = 0
    table: tuple[tuple[int, tuple[int, ...]], ...] = ()
    capacity: float | None = None

    def shares(self, layer: int, count: int) -> tuple[float, ...]:
        """Return the share of a layer's choices that each of its experts has."""
        if self.kind == "balanced":
            return (1 / count,) * count
        if self.kind == "power_law":
            law = np.arange(1, count + 1) ** -self.exponent
            drawn = np.random.default_rng((self.seed, layer)).permutation(law / law.sum())
            return tuple(map(float, drawn))
        tokens = np.asarray(self._row(layer)[:count], float) + 0.0
        return tuple(map(float, tokens / tokens.sum() if tokens.sum() else tokens + 1 / count))

    def _row(self, layer: int) -> tuple[int, ...]:
        """Return the table's row of a layer; the first one for layers that it does not know."""
        return dict(self.table).get(layer, self.table[0][1])

    def repeats(self, layer: int) -> int:
        """Return a number that layers with the same spread share."""
        if self.kind == "balanced":
            return 0
        if self.kind == "power_law":
            return layer
        return next(first for first, row in self.table if row == self._row(layer))

    def dealing(self, layer: int, experts: Experts, tokens: int) -> Dealing:
        """Return how a source of so many tokens deals them in a layer."""
        return _dealing(self, self.repeats(layer), experts.count, experts.active, tokens)


BALANCED = Routing()


@lru_cache(maxsize=1024)
def _dealing(routing: Routing, layer: int, count: int, active: int, tokens: int) -> Dealing:
    shares = routing.shares(layer, count)
    chosen = deal(tokens, active, shares)
    most = tokens
    if routing.capacity is not None:
        most = int(np.ceil(routing.capacity * tokens * active / count))
    return Dealing(tokens, active, chosen, tuple(min(c, most) for c in chosen))


def deal(tokens: int, active: int, shares: tuple[float, ...]) -> tuple[int, ...]:
    """Return whole numbers of choices, by expert, as near to their shares as can be.

    They add up to ``tokens * active``, and none is more than ``tokens``: a token goes to an expert
    once. What is too much for one goes to the others by their shares; equal remainders are spread
    evenly over the experts, not given to the first ones.
    """
    whole = tokens * active
    loads = np.asarray(shares) * whole
    while (over := loads > tokens).any():
        loads[over] = tokens
        free = loads < tokens
        left = whole - tokens * (~free).sum()
        loads[free] *= left / loads[free].sum() if loads[free].sum() else 0.0
        if not loads[free].sum() and left > 0:
            loads[free] = left / free.sum()
    ends = np.rint(np.cumsum(loads) + 1e-9).astype(int)
    ends[-1] = whole
    return tuple(map(int, np.diff(ends, prepend=0)))
