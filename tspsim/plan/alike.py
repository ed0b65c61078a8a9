"""Which layers of a model stand for the others, and the rank whose memory stands for all ranks'."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tspsim.mesh import Axes, names_of
from tspsim.model import ModelShape, Workload
from tspsim.program.types import Buffer, Program
from tspsim.program.varying import Varying

#: Layers that are recorded of a model whose layers are all alike.
FEW = 2


def few_layers(model: ModelShape, workload: Workload) -> int:
    """Return how many layers, from the first one on, stand for all.

    The last two of them are alike, and all that follow are like these.
    """
    kinds = [_kind(model, workload, layer) for layer in range(model.layers)]
    differing = [layer for layer, kind in enumerate(kinds) if kind != kinds[-1]]
    return min(model.layers, max(differing, default=-1) + 1 + FEW)


def _kind(model: ModelShape, workload: Workload, layer: int) -> Hashable:
    """Return what of a layer is not as in other ones: an MLP, or how tokens go to its experts."""
    return workload.routing.repeats(layer) if model.experts_in(layer) else None


def of_one_kind(model: ModelShape) -> Iterator[ModelShape]:
    """Yield models whose layers are all alike: all have an MLP, or experts, as some layers do."""
    for experts in dict.fromkeys(map(model.experts_in, range(model.layers))):
        first = replace(experts, first_dense=0, every=1) if experts else None
        yield replace(model, experts=first)


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
