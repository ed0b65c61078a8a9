"""A grid of two or three dims; devices at the border have fewer neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tspsim.topology.fabric import MOST_DEVICES, Ranks, UniformFabric, Wire
from tspsim.topology.form import problem
from tspsim.topology.routes import Path, Router

#: Devices along every dim; ``strict=False`` lets a YAML list be a tuple.
Shape = Annotated[tuple[Ranks, ...], Field(min_length=1, max_length=3, strict=False)]


@dataclass(frozen=True, slots=True)
class DimByDim:
    """Dimension-ordered routes (Dally and Seitz 1987, doi:10.1109/TC.1987.1676939).

    A route goes along the last dim until the coordinate is right, then along the one before it. In
    a torus it takes the shorter way round, upwards where both are equal: so the route between two
    devices depends only on the difference of their places.

    Parameters
    ----------
    shape : tuple of int
    wrapped : bool
        The last of a row is joined to its first.
    """

    shape: tuple[int, ...]
    wrapped: bool

    def __call__(self, source: int, target: int) -> Path:
        """Return the devices from one to another."""
        path, here, stride = [f"d{source}"], source, 1
        for size in reversed(self.shape):
            at, to = here // stride % size, target // stride % size
            step = 1 if to > at else -1
            if self.wrapped:
                step = 1 if 2 * ((to - at) % size) <= size else -1
            while at != to:
                after = (at + step) % size
                here += (after - at) * stride
                at = after
                path.append(f"d{here}")
            stride *= size
        return tuple(path)


class Grid(UniformFabric):
    """Devices on a grid, numbered with the last dim fastest."""

    shape: Shape

    @field_validator("shape")
    @classmethod
    def _not_too_many(cls, shape: tuple[int, ...]) -> tuple[int, ...]:
        if math.prod(shape) > MOST_DEVICES:
            raise problem(f"{math.prod(shape)} devices; at most {MOST_DEVICES} are possible")
        return shape

    def count(self) -> int:
        """Return the number of devices."""
        return math.prod(self.shape)

    def grid(self) -> tuple[int, ...]:
        """Return the shape."""
        return self.shape

    def index(self, place: tuple[int, ...]) -> int:
        """Return the number of the device at a place of the grid."""
        number = 0
        for size, coordinate in zip(self.shape, place, strict=True):
            number = number * size + coordinate
        return number

    def neighbours(self, wrapped: bool) -> Iterator[tuple[int, int]]:
        """Yield pairs of devices that stand side by side, dim by dim.

        Parameters
        ----------
        wrapped : bool
            The last of a row is joined to its first. A row of two has one connection all the
            same: its wrap-around would be a second one between the same devices.
        """
        for place in product(*map(range, self.shape)):
            for dim, size in enumerate(self.shape):
                after = (place[dim] + 1) % size
                if after > place[dim] or (wrapped and size > 2):
                    other = (*place[:dim], after, *place[dim + 1 :])
                    yield self.index(place), self.index(other)


class Spec(Grid):
    """A mesh: a grid without wrap-around."""

    kind: Literal["mesh"]

    def wires(self) -> Iterator[Wire]:
        """Yield the connections of neighbours."""
        for a, b in self.neighbours(wrapped=False):
            yield from self.joined(a, b)

    def router(self) -> Router:
        """Return the routes: straight along the last dim, then along the one before it."""
        return DimByDim(self.shape, wrapped=False)
