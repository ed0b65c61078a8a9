"""Writing new keys and values into a cache, and choosing rows of new tokens."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tspsim.program.cached import NOBODY, Entries, Rows
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.types import Operand, Work


@lru_cache(maxsize=1024)
def _places(wanted: Rows, stored: Rows, coordinate: int) -> tuple[NDArray[np.int64], Array]:
    """Return which wanted rows are stored at a coordinate, and where they are there."""
    known = {key: place for place, key in enumerate(_keys(stored.entries(coordinate)))}
    found = [(row, known[key]) for row, key in enumerate(_keys(wanted.entries(coordinate)))
             if key[1] >= 0 and key in known]  # fmt: skip
    pairs = np.array(found, dtype=np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1]


def _keys(entries: Entries) -> list[tuple[int, int]]:
    return list(zip(entries.request.tolist(), entries.position.tolist(), strict=True))


@dataclass(frozen=True, slots=True)
class CacheWrite(Pointwise):
    """``(k, v, K, V) -> (K, V)``: puts new rows where this rank's cache has a place for them.

    Parameters
    ----------
    rows : Rows
        The new rows.
    cache : Rows
        Those of the cache behind the step.
    repeats : int
        Of so many groups of heads, one after another, the first is written: they are alike.
    """

    rows: Rows
    cache: Rows
    repeats: int = 1
    name = "cache_write"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return what is read of the new rows, and written of them."""
        new = sum(o.bytes for o in inputs[:2]) / self.repeats
        # Of gathered rows a rank keeps those that it holds.
        own = new / (self.rows.degree if self.rows.everyone else 1)
        own /= self.cache.degree if self.rows.layout.axis is None else 1
        stored = outputs[0].buffer.itemsize / inputs[0].buffer.itemsize
        return Work(0, round(own * (1 + stored)), "elementwise")

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the cache with the new rows in it."""
        new, caches = arrays[:2], arrays[2:]
        coordinate = where.coordinate(self.cache.axis)
        rows, places = _places(self.rows, self.cache, coordinate)
        out = tuple(cache.copy() for cache in caches)
        for x, cache in zip(new, out, strict=True):
            cache[:, places] = x[:: self.repeats, rows]
        return out


@dataclass(frozen=True, slots=True)
class InOrder(Pointwise):
    """``(k, v) -> (k, v)``: brings gathered rows into logical order.

    Parameters
    ----------
    rows : Rows
        As they were gathered.
    """

    rows: Rows
    name = "reorder"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the rows by sequence and position."""
        request, position = self.rows.entries(0)
        order = np.lexsort((position, request, position == NOBODY))
        return tuple(x[:, order] for x in arrays)


@dataclass(frozen=True, slots=True)
class LastRows(Pointwise):
    """``x -> last``: the row of every sequence's last token, [1, rows, h]; zero where it is not.

    Parameters
    ----------
    rows : Rows
        Of x.
    """

    rows: Rows
    name = "last_rows"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the rows read and written."""
        return Work(0, 2 * outputs[0].bytes, "elementwise")

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:
        """Return the rows, zero for sequences whose last token another rank has."""
        request, position = self.rows.entries(where.coordinate(self.rows.axis))
        each = self.rows.requests.each
        ends = np.array([r.length - 1 for r in each])
        out = np.zeros((1, len(each), x.shape[-1]))
        last = np.flatnonzero((position >= 0) & (position == ends[request]))
        out[:, request[last]] = x[:, last]
        return (out,)


@dataclass(frozen=True, slots=True)
class TakeColumns(Pointwise):
    """``x -> some``: of so many parts of the columns, that of this rank's coordinate on an axis.

    So many neighbours take the same part.
    """

    axis: str
    parts: int
    neighbours: int = 1
    name = "take_columns"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return what is read and written of them."""
        return Work(0, 2 * outputs[0].bytes, "elementwise")

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:
        """Return the columns."""
        return (np.split(x, self.parts, axis=-1)[where.coordinate(self.axis) // self.neighbours],)


@dataclass(frozen=True, slots=True)
class Sample(Pointwise):
    """``logits -> ids``: the token with the largest logit of every row (greedy)."""

    name = "sample"

    def values(self, where: Where, logits: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return [1, rows, 1]."""
        return (logits.argmax(-1)[..., None].astype(np.float64),)
