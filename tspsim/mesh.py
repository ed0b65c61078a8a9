"""The mesh of ranks: named axes, and the communicators that run along them."""

from __future__ import annotations

import math
from dataclasses import dataclass

#: The axis along which replicas of the model lie; every other axis belongs to a strategy.
DP = "dp"


@dataclass(frozen=True, slots=True)
class Mesh:
    """Ranks arranged along named axes, the last axis varying fastest.

    Parameters
    ----------
    axes : tuple of (str, int)
        Name and degree of every axis, outermost first. Rank i runs on device i.
    """

    axes: tuple[tuple[str, int], ...]

    @property
    def ranks(self) -> int:
        """Number of ranks."""
        return math.prod(degree for _, degree in self.axes)

    @property
    def replicas(self) -> int:
        """Number of replicas of the model."""
        return self.degree(DP)

    def degree(self, axis: str) -> int:
        """Return the size of an axis; an axis that is not there has size 1."""
        return dict(self.axes).get(axis, 1)

    def stride(self, axis: str) -> int:
        """Return the distance in ranks of neighbours on an axis of the mesh."""
        names = [name for name, _ in self.axes]
        return math.prod(degree for _, degree in self.axes[names.index(axis) + 1 :])

    def coordinate(self, rank: int, axis: str) -> int:
        """Return a rank's position along an axis (0 for an axis that is not there)."""
        if axis not in dict(self.axes):
            return 0
        return rank // self.stride(axis) % self.degree(axis)

    def group(self, rank: int, axis: str, size: int | None = None) -> tuple[int, ...]:
        """Return the ranks that share a communicator with `rank` along an axis, in order.

        Parameters
        ----------
        rank : int
            Any member.
        axis : str
            The axis along which members differ.
        size : int, optional
            Cut the axis into blocks of this many neighbours; the whole axis when not given.
        """
        if axis not in dict(self.axes):
            return (rank,)
        stride, coordinate = self.stride(axis), self.coordinate(rank, axis)
        size = size or self.degree(axis)
        first = rank - (coordinate % size) * stride
        return tuple(first + i * stride for i in range(size))
