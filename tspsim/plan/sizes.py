"""Bytes of buffers on one rank: of what differs by rank, those of a rank that has most."""

from __future__ import annotations

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Axes, names_of
from tspsim.program.types import Buffer, Program
from tspsim.program.varying import Varying


def sizes(program: Program) -> NDArray[np.float64]:
    """Return the bytes of every buffer on one rank, of those where they vary the one with most.

    What varies along axes that others vary along, too, counts as the least that a rank has of it.
    """
    varying = [buffer.bytes for buffer in program.buffers if isinstance(buffer.bytes, Varying)]
    fullest = _fullest(varying)
    return np.array([_size(buffer, fullest) for buffer in program.buffers], dtype=np.float64)


def _fullest(varying: list[Varying]) -> dict[Axes, int]:
    """Return, by axes that no others have a part in, the coordinate at which sizes add up most."""
    known = {size.axis: len(size.sizes) for size in varying}
    shared = Counter(name for axes in known for name in names_of(axes))
    apart = [axes for axes in known if all(shared[name] == 1 for name in names_of(axes))]
    return {
        axes: int(np.sum([s.sizes for s in varying if s.axis == axes], axis=0).argmax())
        for axes in apart
    }


def _size(buffer: Buffer, fullest: dict[Axes, int]) -> int:
    size = buffer.bytes
    if not isinstance(size, Varying):
        return size
    return size.sizes[fullest[size.axis]] if size.axis in fullest else min(size.sizes)
