"""Sizes that differ by coordinate: uneven shards, tokens that a router has dealt out.

A `Varying` stands in a shape where a number stands otherwise. Whoever does not ask sees the largest
of its sizes, so what is worked out from it is an upper bound; memory, work, hops and values ask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from tspsim.files.errors import ProgramError
from tspsim.mesh import Axes, Mesh, names_of


class Varying(int):
    """A size that is ``sizes[coordinate]`` at a coordinate of an axis, or of several as one.

    As a number it is the largest of them.

    Parameters
    ----------
    axis : str or tuple of str
    sizes : sequence of int
        One entry per coordinate.
    """

    axis: Axes
    sizes: tuple[int, ...]

    def __new__(cls, axis: Axes, sizes: Iterable[int]) -> Varying:
        """Make the number; an int is made before it is initialised."""
        by_coordinate = tuple(map(int, sizes))
        made = super().__new__(cls, max(by_coordinate))
        made.axis, made.sizes = axis, by_coordinate
        return made

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Varying):
            return False
        return (self.axis, self.sizes) == (other.axis, other.sizes)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash((self.axis, self.sizes))

    def __getnewargs__(self) -> Any:  # copies and other processes get all of it
        return self.axis, self.sizes

    def __repr__(self) -> str:
        return f"{min(self.sizes)}..{int(self)}"

    __str__ = __repr__


def combined(function: Callable[..., int], *sizes: int) -> int:
    """Return a function of sizes: a number, or a `Varying` where one of them is.

    Raises
    ------
    ProgramError
        When they vary along different axes.
    """
    if not varies(sizes):
        return function(*sizes)
    varying = {size.axis: size for size in sizes if isinstance(size, Varying)}
    if len(varying) > 1:
        raise ProgramError(f"sizes that vary along different axes: {', '.join(map(str, varying))}")
    ((axis, first),) = varying.items()
    pairs = (tuple(at(size, i) for size in sizes) for i in range(len(first.sizes)))
    return Varying(axis, (function(*pair) for pair in pairs))


def at(size: int, coordinate: int) -> int:
    """Return a size at a coordinate of the axis that it varies along."""
    return size.sizes[coordinate] if isinstance(size, Varying) else size


def of_rank(size: int, mesh: Mesh, rank: int) -> int:
    """Return a size as a rank has it."""
    return size.sizes[mesh.coordinate(rank, size.axis)] if isinstance(size, Varying) else size


def varies(sizes: Iterable[int]) -> bool:
    """Whether one of some sizes varies; it is asked of every operand, and hardly any does."""
    for size in sizes:  # noqa: SIM110  # a generator inside any() takes three times as long
        if type(size) is Varying:
            return True
    return False


def product(sizes: tuple[int, ...]) -> int:
    """Return the product of sizes, varying where they do."""
    if varies(sizes):
        return combined(lambda *numbers: math.prod(numbers), *sizes)
    return math.prod(sizes)


def total(sizes: Iterable[int]) -> int:
    """Return the sum of sizes, varying where they do."""
    parts = tuple(sizes)
    if varies(parts):
        return combined(lambda *numbers: sum(numbers), *parts)
    return sum(parts)


def axes_in(sizes: Iterable[int]) -> Iterator[str]:
    """Yield the names of the axes that some sizes vary along."""
    for size in sizes:
        if isinstance(size, Varying):
            yield from names_of(size.axis)
