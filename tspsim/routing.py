"""Routing: how many tokens go to every expert, and which. An input, the same for all readings.

Every source of tokens (a rank, or ranks that hold the same ones) deals its own in the same way, so
that sizes of messages and the work of experts follow from the counts alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from tspsim.experts import Experts

#: Patterns drawn of which the nearest to the mean is taken.
TRIES = 64

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
    groups, top_groups : int
        A token's experts lie in so few of so many groups, where the spread is balanced.
    """

    tokens: int
    active: int
    dealt: tuple[int, ...]
    kept: tuple[int, ...]
    groups: int = 1
    top_groups: int = 1

    @property
    def balanced(self) -> bool:
        """Whether every expert is chosen as often, by whole rounds of tokens."""
        return len(set(self.dealt)) == 1 and self.tokens % len(self.dealt) == 0

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
    """Return which token goes to which experts, and which of these take it.

    An expert drops what comes last.
    """
    n = dealing.tokens
    experts = _balanced(dealing) if dealing.balanced else _in_a_row(dealing)
    order = np.argsort(experts.T.reshape(-1), kind="stable")  # ``slot * tokens + token``
    expert = experts.T.reshape(-1)[order]
    first = np.repeat(np.cumsum((0, *dealing.dealt[:-1])), dealing.dealt)
    taken = np.arange(len(order)) - first < np.repeat(dealing.kept, dealing.dealt)
    rows = order[taken]
    kept = np.zeros(experts.shape, bool)
    kept[rows % n, rows // n] = True
    return Dealt(experts, kept, rows, expert[taken])


@lru_cache(maxsize=1024)
def alike(dealing: Dealing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the experts of tokens that differ in them, and how many tokens are like each.

    What `dealt` says of every token, by kinds of token: no more than there are experts, or twice as
    many. Shapes (kinds, active), -1 where an expert drops them, and (kinds,).
    """
    n, count = dealing.tokens, len(dealing.dealt)
    if not dealing.balanced:
        return _runs(dealing)
    if dealing.kept == dealing.dealt:
        return _balanced(replace(dealing, tokens=count)), np.full(count, n // count)
    spread = dealt(dealing)
    return np.where(spread.kept, spread.experts, -1), np.ones(n, int)


def _runs(dealing: Dealing) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the same where choices stand expert by expert: tokens differ where a run ends."""
    n, order = dealing.tokens, _drawn(len(dealing.dealt))
    whole, kept = (np.asarray(counts)[order] for counts in (dealing.dealt, dealing.kept))
    starts = np.cumsum(whole) - whole
    first = np.unique(np.concatenate([starts, starts + kept]) % n)
    places = first[:, None] + n * np.arange(dealing.active)
    run = np.searchsorted(starts, places, "right") - 1
    experts = np.where(places < (starts + kept)[run], order[run], -1)
    return experts, np.diff(first, append=n)


def _in_a_row(dealing: Dealing) -> NDArray[np.int64]:
    """Return experts by token: choices stand expert by expert, and token t has every n-th.

    With n tokens those at t, t + n, t + 2 n... No expert is chosen more often than there are
    tokens, so these differ. The experts stand in a drawn order: neighbours are on one rank.
    """
    order = _drawn(len(dealing.dealt))
    choices = np.repeat(order, np.asarray(dealing.dealt)[order])
    return choices.reshape(dealing.active, dealing.tokens).T


def _drawn(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(count).permutation(count)


def _balanced(dealing: Dealing) -> NDArray[np.int64]:
    """Return experts by token, so that all experts and all ranks of experts see the same.

    Experts are (group, member) on a torus; a pattern of `active` of them, in `top_groups` groups,
    is moved to every place of it, and as many tokens have each.
    """
    count, groups = len(dealing.dealt), dealing.groups
    inner = count // groups
    pattern = _pattern(count, dealing.active, groups, dealing.top_groups)
    place = np.arange(dealing.tokens)[:, None] % count
    group = (place // inner + pattern // inner) % groups
    return np.asarray(group * inner + (place + pattern) % inner)


@lru_cache(maxsize=64)
def _pattern(count: int, active: int, groups: int, top: int) -> NDArray[np.int64]:
    """Return a pattern of experts that lie on as many ranks as drawn ones do, on average.

    The best of some drawn ones, for all numbers of ranks that divide the experts.
    """
    inner, random = count // groups, np.random.default_rng(count)
    degrees = [d for d in range(2, min(count, 129)) if count % d == 0 and _fits(d, groups)]

    def drawn() -> NDArray[np.int64]:
        chosen = random.permutation(groups)[:top]
        candidates = (chosen[:, None] * inner + np.arange(inner)).reshape(-1)
        return np.sort(random.permutation(candidates)[:active])

    tries = [drawn() for _ in range(TRIES)]
    hits = np.array([[_ranks(pattern, count, groups, d) for d in degrees] for pattern in tries])
    if not degrees:
        return tries[0]
    nearest = ((hits / hits.mean(0) - 1) ** 2).sum(1).argmin()
    return tries[int(nearest)]


def _fits(degree: int, groups: int) -> bool:
    return degree % groups == 0 or groups % degree == 0


def _ranks(pattern: NDArray[np.int64], count: int, groups: int, degree: int) -> float:
    """Return on how many ranks the experts of a token lie, over all places of a pattern."""
    inner, place = count // groups, np.arange(count)[:, None]
    group = (place // inner + pattern // inner) % groups
    rank = (group * inner + (place + pattern) % inner) // (count // degree)
    return float((np.diff(np.sort(rank, 1), axis=1) > 0).sum(1).mean() + 1)


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
        return _dealing(self, self.repeats(layer), experts, tokens)


BALANCED = Routing()


@lru_cache(maxsize=1024)
def _dealing(routing: Routing, layer: int, experts: Experts, tokens: int) -> Dealing:
    count, active, router = experts.count, experts.active, experts.router
    shares = routing.shares(layer, count)
    chosen = deal(tokens, active, shares)
    most = tokens
    if routing.capacity is not None:
        most = int(np.ceil(routing.capacity * tokens * active / count))
    kept = tuple(min(c, most) for c in chosen)
    return Dealing(tokens, active, chosen, kept, router.groups, router.top_groups)


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
