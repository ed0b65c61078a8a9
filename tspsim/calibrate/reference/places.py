"""Where the tokens of several sequences lie on ranks, while they are computed and when cached.

A piece of a prompt is cut into chunks, as a sequence is in training; its last chunks are padded, so
that all ranks have as many rows. Tokens that come one at a time go round the ranks: of sequence n
the t-th lies on rank (n + t) mod D. A cache has as many places for a sequence on every rank: nobody
has to know who got the last token, and what is gathered has one size.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import NamedTuple


class Span(NamedTuple):
    """Tokens of one sequence that lie one after another: their first row, and their positions."""

    row: int
    start: int
    stop: int

    @property
    def rows(self) -> slice:
        """Where they lie."""
        return slice(self.row, self.row + self.stop - self.start)

    def moved(self, rows: int) -> Span:
        """Return them so many rows further down."""
        return self._replace(row=self.row + rows)


@dataclass(frozen=True, slots=True)
class Layout:
    """How sequences lie on the ranks of an axis.

    Parameters
    ----------
    degree : int
        1: all on every rank.
    zigzag : bool
        Of 2D chunks of a prompt rank p has chunks p and 2D - 1 - p; else of D chunks the p-th.
    """

    degree: int = 1
    zigzag: bool = False

    def _chunks(self, coordinate: int) -> tuple[int, ...]:
        mirror = 2 * self.degree - 1 - coordinate
        return (coordinate, mirror) if self.zigzag and self.degree > 1 else (coordinate,)

    def _wide(self, length: int) -> int:
        return -(-length // (self.degree * len(self._chunks(0))))

    def rows(self, length: int) -> int:
        """Return the rows of a piece on every rank."""
        return self._wide(length) * len(self._chunks(0))

    def piece(self, coordinate: int, start: int, length: int, row: int = 0) -> list[Span]:
        """Return where the tokens of a piece lie on a rank: from a row on, at positions from start.

        Parameters
        ----------
        coordinate, start, length : int
        row : int
        """
        wide, found = self._wide(length), []
        for chunk in self._chunks(coordinate):
            first, last = min(chunk * wide, length), min((chunk + 1) * wide, length)
            found += [Span(row, start + first, start + last)] if first < last else []
            row += wide
        return found


@dataclass(frozen=True, slots=True)
class Sequence:
    """What is known of a sequence: the pieces of its prompt, and how many tokens came singly.

    Parameters
    ----------
    pieces : tuple of int
    decoded : int
    """

    pieces: tuple[int, ...] = ()
    decoded: int = 0

    @property
    def length(self) -> int:
        """Tokens."""
        return sum(self.pieces) + self.decoded

    def places(self, layout: Layout) -> int:
        """Return the places of its cache on every rank."""
        return sum(map(layout.rows, self.pieces)) + -(-self.decoded // layout.degree)

    def held(self, layout: Layout, number: int, coordinate: int) -> list[Span]:
        """Return where a rank has its tokens in the cache; `number`: which sequence it is."""
        found, row, start = list[Span](), 0, 0
        for piece in self.pieces:
            found += layout.piece(coordinate, start, piece, row)
            row, start = row + layout.rows(piece), start + piece
        first = (coordinate - number) % layout.degree
        singles = range(first, self.decoded, layout.degree)
        return found + [Span(row + i, start + t, start + t + 1) for i, t in enumerate(singles)]


@dataclass(frozen=True, slots=True)
class Step:
    """What one step computes.

    Parameters
    ----------
    before : tuple of Sequence
    new : tuple of int
        Tokens of every sequence.
    decodes : bool
        They come singly: one of each sequence.
    """

    before: tuple[Sequence, ...]
    new: tuple[int, ...]
    decodes: bool = False

    @property
    def after(self) -> tuple[Sequence, ...]:
        """The sequences behind the step."""
        pairs = zip(self.before, self.new, strict=True)
        if self.decodes:
            return tuple(Sequence(s.pieces, s.decoded + n) for s, n in pairs)
        return tuple(Sequence((*s.pieces, n), s.decoded) if n else s for s, n in pairs)

    def asked(self, layout: Layout, coordinate: int) -> list[list[Span]]:
        """Return where a rank has the new tokens of every sequence, among its rows."""
        coordinate %= layout.degree  # what is not cut is the same on every rank
        if not self.decodes:
            starts = accumulate(map(layout.rows, self.new), initial=0)
            each = zip(self.before, self.new, starts, strict=False)
            return [layout.piece(coordinate, s.length, n, row) for s, n, row in each]
        found, row = list[list[Span]](), 0
        for number, s in enumerate(self.before):
            here = (number + s.decoded) % layout.degree == coordinate
            found.append([Span(row, s.length, s.length + 1)] if here else [])
            row += here
        return found

    def rows(self, layout: Layout) -> int:
        """Return the rows of the step, the same number on every rank."""
        if not self.decodes:
            return sum(map(layout.rows, self.new))
        turns = [(n + s.decoded) % layout.degree for n, s in enumerate(self.before)]
        return max(map(turns.count, range(layout.degree)))

    def of_all(self, layout: Layout) -> list[list[Span]]:
        """Return where every sequence's new tokens lie when the rows of all ranks are stacked."""
        rows = self.rows(layout)
        each = [self.asked(layout, c) for c in range(layout.degree)]
        return [
            [span.moved(c * rows) for c, spans in enumerate(some) for span in spans]
            for some in zip(*each, strict=True)
        ]

    def held(self, layout: Layout, number: int, coordinate: int) -> list[Span]:
        """Return where a rank has a sequence in the cache behind the step."""
        return self.after[number].held(layout, number, coordinate)


def ranges(spans: list[Span]) -> tuple[tuple[int, int], ...]:
    """Return the positions of spans, neighbours as one."""
    edges = [spans[0].start]
    for before, behind in pairwise(spans):
        if before.stop != behind.start:
            edges += [before.stop, behind.start]
    edges.append(spans[-1].stop)
    return tuple(zip(edges[::2], edges[1::2], strict=True))
