"""What op kinds share: the rank that values are played on, and the bytes that operands move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Axes, Mesh
from tspsim.program.types import Operand, Work

Array: TypeAlias = NDArray[Any]
Float: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Where:
    """The rank that an op is played on: all that its values may depend on beside its inputs."""

    mesh: Mesh
    rank: int

    def coordinate(self, axis: Axes | None) -> int:
        """Return the rank's coordinate on an axis, or on several as one (0 on none)."""
        return 0 if axis is None else self.mesh.coordinate(self.rank, axis)


def moved(inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> int:
    """Return the bytes of all operands: each is read or written once."""
    return sum(o.bytes for o in inputs) + sum(o.bytes for o in outputs)


def already_narrow(dtype: str, inputs: tuple[Operand, ...]) -> int:
    """Return the elements of weights that are in memory as narrow as they are multiplied."""
    x, weights = inputs[:2]
    return weights.elements if dtype and weights.buffer.itemsize < x.buffer.itemsize else 0


def elementwise(inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
    """Return the work of an op whose time is its memory traffic."""
    return Work(0, moved(inputs, outputs), "elementwise")
