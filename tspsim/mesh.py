"""The mesh of ranks: named axes, and the communicators that run along them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

#: The axis along which replicas of the model lie.
DP = "dp"
#: The axis along which neighbouring replicas share what is cut, where not all of `DP` do.
SHARD = "shard"
#: The axis along which the stages of a pipeline lie.
PP = "pp"

#: Stands for an axis where there is none: no mesh has it, so it has one coordinate.
NOWHERE = "nowhere"

#: One axis, or several that are seen as one: the last of them varies fastest.
Axes: TypeAlias = str | tuple[str, ...]


def names_of(axes: Axes | None) -> tuple[str, ...]:
    """Return the names of one axis, of several, or of none."""
    if axes is None:
        return ()
    return (axes,) if isinstance(axes, str) else axes


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
        return self.degree((DP, SHARD))

    def there(self, axes: Axes) -> Axes:
        """Return those of some axes that have more than one coordinate; the first one if none."""
        names = names_of(axes)
        found = tuple(name for name in names if self.degree(name) > 1) or names[:1]
        return found if len(found) > 1 else found[0]

    def degree(self, axes: Axes) -> int:
        """Return the size of an axis, or of several as one; an axis that is not there has 1."""
        known = dict(self.axes)
        return math.prod(known.get(axis, 1) for axis in names_of(axes))

    def stride(self, axis: str) -> int:
        """Return the distance in ranks of neighbours on an axis of the mesh."""
        names = [name for name, _ in self.axes]
        return math.prod(degree for _, degree in self.axes[names.index(axis) + 1 :])

    def coordinate(self, rank: int, axes: Axes) -> int:
        """Return a rank's position along an axis, or several as one (0 where none is there)."""
        known, place = dict(self.axes), 0
        for axis in names_of(axes):
            if axis in known:
                place = place * known[axis] + rank // self.stride(axis) % known[axis]
        return place

    def group(self, rank: int, axes: Axes, size: int | None = None) -> tuple[int, ...]:
        """Return the ranks that share a communicator with `rank` along some axes, in order.

        Parameters
        ----------
        rank : int
            Any member.
        axes : str or tuple of str
            The axes along which members differ; the last one varies fastest.
        size : int, optional
            Cut the axis into blocks of this many neighbours; the whole axis when not given.
        """
        known = dict(self.axes)
        members = [rank]
        for axis in names_of(axes):
            if axis in known:
                stride, degree = self.stride(axis), known[axis]
                first = -(rank // stride % degree) * stride
                members = [m + first + i * stride for m in members for i in range(degree)]
        if size is None:
            return tuple(members)
        block = members.index(rank) // size * size
        return tuple(members[block : block + size])
