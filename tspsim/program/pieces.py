"""A sequence of which most is made only when somebody asks for it.

Programs are long: millions of ops, nearly all of them stamped from a few templates. What is played,
counted and checked comes from columns (`tspsim.program.columns`); names and operands of single ops
are made for whoever shows them.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, overload

if TYPE_CHECKING:
    from tspsim.program.template import Template

Thing = TypeVar("Thing")


class Stamp(NamedTuple):
    """Where a template was stamped.

    Attributes
    ----------
    template : Template
    op, buffer : int
        The first of its ops, and of its own buffers.
    outside : tuple of int
        The buffers that take the place of `Template.outside`.
    waits : tuple of (int, tuple of int)
        By op, counted from the first: those from before the stamp that it waits for.
    layer : int or None
    micro_batch : int
    """

    template: Template
    op: int
    buffer: int
    outside: tuple[int, ...]
    waits: tuple[tuple[int, tuple[int, ...]], ...]
    layer: int | None
    micro_batch: int


class Pieces(Sequence[Thing], Generic[Thing]):
    """What was recorded: thing by thing, or stamped.

    Parameters
    ----------
    make : callable
        Returns all that a stamp stands for.
    """

    __slots__ = ("_latest", "_length", "_make", "_pieces", "_starts", "_whole")

    def __init__(self, make: Callable[[Stamp], list[Thing]]) -> None:
        self._make = make
        self._pieces: list[list[Thing] | Stamp] = []
        self._starts: list[int] = []  # place of the first thing of every piece
        self._length = 0
        self._whole: list[Thing] = []  # everything, once somebody went through it
        self._latest: tuple[int, list[Thing]] = (-1, [])  # the piece made last

    def append(self, thing: Thing) -> None:
        """Add one thing."""
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, list):
            last.append(thing)
        else:
            self._starts.append(self._length)
            self._pieces.append([thing])
        self._length += 1

    def stamp(self, stamp: Stamp, count: int) -> None:
        """Add the things that a stamp stands for."""
        if count:
            self._starts.append(self._length)
            self._pieces.append(stamp)
            self._length += count

    def cut(self, length: int) -> None:
        """Take away all but so many things; what is cut within is no stamp."""
        while self._starts and self._starts[-1] >= length:
            self._starts.pop()
            self._pieces.pop()
        last = self._pieces[-1] if self._pieces else None
        if isinstance(last, list):
            del last[length - self._starts[-1] :]
        self._length, self._latest = length, (-1, [])

    def parts(self) -> Iterator[tuple[int, list[Thing] | Stamp]]:
        """Yield things that follow each other, and stamps; with the place of the first."""
        return zip(self._starts, self._pieces, strict=True)

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Thing: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Thing]: ...
    def __getitem__(self, place: int | slice) -> Thing | Sequence[Thing]:
        if isinstance(place, slice):
            return [self[at] for at in range(*place.indices(self._length))]
        if len(self._whole) == self._length:
            return self._whole[place]
        place = range(self._length)[place]
        at = bisect_right(self._starts, place) - 1
        return self._made(at)[place - self._starts[at]]

    def _made(self, at: int) -> list[Thing]:
        piece = self._pieces[at]
        if isinstance(piece, list):
            return piece
        if self._latest[0] != at:
            self._latest = at, self._make(piece)
        return self._latest[1]

    def __iter__(self) -> Iterator[Thing]:
        if len(self._whole) != self._length:
            self._whole = [thing for at in range(len(self._pieces)) for thing in self._made(at)]
        return iter(self._whole)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # it grows while it is recorded
