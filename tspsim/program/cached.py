"""Which tokens of which sequences a rank holds in a step of inference, in storage order.

A step works on all new tokens side by side, whatever sequences they are of: [1, tokens, width].
What is in the cache lies sequence by sequence; a piece of a prompt is cut over ranks by itself, and
tokens that come one at a time go round the ranks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.program.tokens import Ranges, twice_windowed_pairs
from tspsim.requests import Request, Requests

#: Where there is a place and no token: padding, or what is left of a page.
NOBODY = -1


class Entries(NamedTuple):
    """Rows as they are stored: the sequence of each, and its position there.

    Attributes
    ----------
    request, position : ndarray of int, shape (rows,)
        A position of `NOBODY` is a place without a token.
    """

    request: NDArray[np.int64]
    position: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Layout:
    """How the tokens of a sequence lie over the ranks of an axis.

    Parameters
    ----------
    axis : str or None
        None: every rank holds all of them.
    degree : int
    zigzag : bool
        Of 2D chunks of a piece, coordinate p holds chunks p and 2D-1-p; else of D chunks the p-th.
    """

    axis: str | None = None
    degree: int = 1
    zigzag: bool = False

    @property
    def chunks(self) -> int:
        """Pieces that a prompt is cut into."""
        return self.degree * (2 if self.zigzag else 1)

    def slots(self, length: int) -> int:
        """Return the places that a piece of a prompt takes on every rank."""
        return -(-length // self.chunks) * (self.chunks // self.degree)

    def spans(self, coordinate: int, length: int) -> Ranges:
        """Return the places at a coordinate; what lies behind `length` is padding."""
        wide = -(-length // self.chunks)
        places = (coordinate, self.chunks - 1 - coordinate) if self.zigzag else (coordinate,)
        return tuple((place * wide, (place + 1) * wide) for place in places)

    def turns(self, first: int, count: int, coordinate: int) -> range:
        """Return which of some tokens a coordinate holds where they go round, from `first` on."""
        return range((coordinate - first) % self.degree, count, self.degree)


@dataclass(frozen=True, slots=True)
class Rows:
    """Tokens of all sequences of a step, as a function of a rank's coordinate.

    It stands where `tspsim.program.tokens.Tokens` stands in other steps.

    Parameters
    ----------
    requests : Requests
    layout : Layout
    holds : {"new", "cached", "all"}
        What the step computes; what the cache holds before it, and behind it.
    shift : int
        Look at the rank so many places further round the axis.
    everyone : bool
        Those of all ranks, one rank after another.
    ordered : bool
        These in logical order: by sequence and position, places without a token last.
    """

    requests: Requests
    layout: Layout = Layout()
    holds: Literal["new", "cached", "all"] = "new"
    shift: int = 0
    everyone: bool = False
    ordered: bool = False

    @property
    def axis(self) -> str | None:
        """The axis on whose coordinate they depend."""
        return None if self.everyone else self.layout.axis

    @property
    def degree(self) -> int:
        """Size of that axis."""
        return self.layout.degree

    @property
    def local(self) -> int:
        """Rows, the same number on every rank: padding included."""
        return _local(self)

    def shifted(self, by: int) -> Rows:
        """Return those of the rank `by` places further."""
        return replace(self, shift=self.shift + by)

    def gathered(self) -> Rows:
        """Return those of all ranks, one rank after another."""
        return self if self.layout.axis is None else replace(self, everyone=True)

    def entries(self, coordinate: int) -> Entries:
        """Return the rows at a coordinate, as they are stored."""
        return _entries(self, self._place(coordinate))

    def _place(self, coordinate: int) -> int:
        return 0 if self.axis is None else (coordinate + self.shift) % self.layout.degree

    def positions(self, coordinate: int) -> NDArray[np.int64]:
        """Return every row's position in its sequence; 0 where there is no token."""
        return np.maximum(self.entries(coordinate).position, 0)

    def select(self, tensor: NDArray[Any], coordinate: int) -> NDArray[Any]:
        """Return the rows of a dense tensor [sequences, tokens, ...] as [1, rows, ...]."""
        request, position = self.entries(coordinate)
        return np.asarray(tensor[request, np.maximum(position, 0)][None])

    def taken(self, coordinate: int) -> int:
        """Return the rows at a coordinate in which there is a token."""
        return sum(has.count() * n for _, has, n in together(self, self, coordinate))

    def held(self, request: Request, turn: int, coordinate: int) -> Held:
        """Return what a coordinate holds of a sequence; `turn`: its number in the step."""
        place = self._place(coordinate)
        places = range(self.layout.degree) if self.everyone else (place,)
        return _merged(tuple(_held_of(self, request, turn, each) for each in places))


class Held(NamedTuple):
    """What a rank holds of one sequence.

    Attributes
    ----------
    ranges : tuple of (int, int)
        Positions of its prompt, and of new tokens.
    singles : (int, range)
        Where tokens begin that came one at a time, and which of them are there.
    """

    ranges: Ranges
    singles: tuple[int, range]

    def count(self, first: int = 0) -> int:
        """Return the tokens at positions from `first` on."""
        start, turns = self.singles
        before = sum(1 for turn in turns if start + turn < first) if first else 0
        return sum(max(0, b - max(a, first)) for a, b in self.ranges) + len(turns) - before


@lru_cache(maxsize=1024)
def _local(rows: Rows) -> int:
    each = max(_stored(rows, c) for c in range(rows.layout.degree))
    return each * (rows.layout.degree if rows.everyone else 1)


def _stored(rows: Rows, coordinate: int) -> int:
    """Return the rows that a coordinate needs."""
    if rows.holds == "new":
        return sum(_new_slots(rows, n, coordinate) for n in range(len(rows.requests.each)))
    return sum(_paged(rows, request) for request in rows.requests.each)


def _new_slots(rows: Rows, number: int, coordinate: int) -> int:
    request, layout = rows.requests.each[number], rows.layout
    if not request.decodes:
        return layout.slots(request.new)
    return len(layout.turns(number + request.decoded, request.new, coordinate))


def _paged(rows: Rows, request: Request) -> int:
    """Return the places of a sequence in the cache, whole pages, the same on every rank."""
    parts, decoded = _pieces(rows, request)
    degree = rows.layout.degree
    slots = sum(map(rows.layout.slots, parts)) + -(-decoded // degree)
    block = rows.requests.cache.block
    return -(-slots // block) * block


def _pieces(rows: Rows, request: Request) -> tuple[tuple[int, ...], int]:
    """Return the pieces of a prompt that the cache holds, and the tokens that came singly."""
    after = rows.holds == "all"
    if request.decodes:
        return request.parts, request.decoded + (request.new if after else 0)
    new = (request.new,) if after and request.new else ()
    return (*request.parts, *new), request.decoded


@lru_cache(maxsize=1024)
def _entries(rows: Rows, place: int) -> Entries:
    places = range(rows.layout.degree) if rows.everyone else (place,)
    found = [_at(rows, each) for each in places]
    request = np.concatenate([some.request for some in found])
    position = np.concatenate([some.position for some in found])
    if not rows.ordered:
        return Entries(request, position)
    order = np.lexsort((position, request, position == NOBODY))
    return Entries(request[order], position[order])


def _at(rows: Rows, coordinate: int) -> Entries:
    size = _local(replace(rows, everyone=False))
    positions = [_positions(rows, n, coordinate) for n in range(len(rows.requests.each))]
    request = np.repeat(np.arange(len(positions)), list(map(len, positions)))
    position = np.concatenate(positions)
    spare = size - len(position)
    return Entries(np.pad(request, (0, spare)), np.pad(position, (0, spare), constant_values=-1))


def _positions(rows: Rows, number: int, coordinate: int) -> NDArray[np.int64]:
    """Return the positions of one sequence at a coordinate, as they are stored."""
    request, layout = rows.requests.each[number], rows.layout
    if rows.holds == "new":
        if request.decodes:
            turns = layout.turns(number + request.decoded, request.new, coordinate)
            return request.cached + np.asarray(turns, dtype=np.int64)
        return _piece(layout, coordinate, request.cached, request.new)
    parts, decoded = _pieces(rows, request)
    starts = np.cumsum((0, *parts)).tolist()
    found = [_piece(layout, coordinate, *pair) for pair in zip(starts, parts, strict=False)]
    # What came one at a time stands behind the prompt it continues; a new piece behind both.
    singles = starts[-1] + np.asarray(layout.turns(number, decoded, coordinate), dtype=np.int64)
    if rows.holds == "all" and not request.decodes and request.decoded:
        raise AssertionError("a prompt does not go on behind tokens that came one at a time")
    stored = np.concatenate([*found, singles])
    return np.pad(stored, (0, _paged(rows, request) - len(stored)), constant_values=NOBODY)


def _piece(layout: Layout, coordinate: int, start: int, length: int) -> NDArray[np.int64]:
    places = np.concatenate([np.arange(a, b) for a, b in layout.spans(coordinate, length)])
    return np.where(places < length, start + places, NOBODY)


@lru_cache(maxsize=4096)
def together(queries: Rows, keys: Rows, coordinate: int) -> tuple[tuple[Held, Held, int], ...]:
    """Return what a coordinate has of every kind of sequence: queries, keys, and of how many.

    Sequences are of one kind when the same of them is cached and new, and they take the same turn.
    """
    degree = max(queries.degree, keys.degree)
    kinds = Counter((each, n % degree) for n, each in enumerate(queries.requests.each))
    return tuple(
        (queries.held(each, turn, coordinate), keys.held(each, turn, coordinate), times)
        for (each, turn), times in kinds.items()
    )


def _held_of(rows: Rows, request: Request, turn: int, coordinate: int) -> Held:
    layout = rows.layout
    if rows.holds == "new":
        if request.decodes:
            turns = layout.turns(turn + request.decoded, request.new, coordinate)
            return Held((), (request.cached, turns))
        return Held(_real(layout, coordinate, request.cached, request.new), (0, range(0)))
    parts, decoded = _pieces(rows, request)
    starts = np.cumsum((0, *parts)).tolist()
    pairs = zip(starts, parts, strict=False)
    ranges = tuple(span for pair in pairs for span in _real(layout, coordinate, *pair))
    return Held(ranges, (starts[-1], layout.turns(turn, decoded, coordinate)))


def _real(layout: Layout, coordinate: int, start: int, length: int) -> Ranges:
    spans = ((a, min(b, length)) for a, b in layout.spans(coordinate, length))
    return tuple((start + a, start + b) for a, b in spans if a < b)


def _merged(some: tuple[Held, ...]) -> Held:
    """Return what several ranks hold as one; tokens that came singly are all there then."""
    if len(some) == 1:
        return some[0]
    start = some[0].singles[0]
    count = sum(len(each.singles[1]) for each in some)
    return Held(tuple(span for each in some for span in each.ranges), (start, range(count)))


def twice_pairs(queries: Held, keys: Held, window: int | None) -> int:
    """Return twice the pairs of one sequence that a causal mask, and a window, leave.

    As in `tspsim.program.tokens`, a key at the query's own position is half a pair.
    """
    start, turns = keys.singles
    single = tuple((start + turn, start + turn + 1) for turn in turns[-_AT_ONCE:])
    many = len(turns) - len(single)  # all of them before any query, unless a window ends
    total = 0
    for asked in _asked(queries):
        total += twice_windowed_pairs((asked,), (*keys.ranges, *single), window)
        if many and window is None:
            total += 2 * many * (asked[1] - asked[0])
        elif many and window is not None:
            early = turns[:many]
            total += sum(
                2 * sum(1 for t in early if q - window < start + t <= q) for q in range(*asked)
            )
    return total


#: Tokens that came singly and may be new themselves: they are looked at one by one.
_AT_ONCE = 4


def _asked(queries: Held) -> Iterator[tuple[int, int]]:
    yield from queries.ranges
    start, turns = queries.singles
    for turn in turns:
        yield start + turn, start + turn + 1


def seen(queries: Held, keys: Held, window: int | None) -> int:
    """Return the keys that at least one query reads: those behind the first window's beginning."""
    asked = list(_asked(queries))
    if not asked:
        return 0
    return keys.count(max(0, min(a for a, _ in asked) - window + 1) if window else 0)
