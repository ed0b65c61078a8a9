"""A grid of two or three dims; devices at the border have fewer neighbours."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import product
from typing import Annotated, Literal

from pydantic import Field, field_validator

from tspsim.topology.fabric import MOST_DEVICES, Ranks, UniformFabric, Wire
from tspsim.topology.forms import problem

#: Devices along every dim; ``strict=False`` lets a YAML list be a tuple.
Shape = Annotated[tuple[Ranks, ...], Field(min_length=1, max_length=3, strict=False)]


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
