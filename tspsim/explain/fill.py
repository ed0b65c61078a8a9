"""What fills the memory at its peak: by kind, by layer and by buffer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

from tspsim.analysis.fullest import MemoryFigures
from tspsim.engine.timeline import Timeline
from tspsim.memory import alive

#: What buffers and tasks outside the layers are called: embedding, head, optimizer.
OUTSIDE = "outside layers"


class Held(NamedTuple):
    """Buffers of one name that are alive together: `number` of them, `bytes` in all."""

    name: str
    kind: str
    number: int
    bytes: int


class PeakMemory(NamedTuple):
    """The memory of the fullest rank at its peak.

    Attributes
    ----------
    figures : MemoryFigures
        By kind, with what is reserved.
    by_layer : dict of str to int
        Bytes of the buffers of a layer, largest first; those of no layer are `OUTSIDE`.
    buffers : tuple of Held
        Largest first.
    """

    figures: MemoryFigures
    by_layer: dict[str, int]
    buffers: tuple[Held, ...]


def at_peak(timeline: Timeline, figures: MemoryFigures) -> PeakMemory:
    """Return what fills the memory of the rank that the figures are of."""
    by_layer: dict[str, int] = defaultdict(int)
    by_name: dict[tuple[str, str], list[int]] = defaultdict(list)
    for buffer in alive(timeline, figures.peak_rank, figures.peak_time):
        by_layer[layer_name(buffer.layer)] += buffer.bytes
        by_name[buffer.name, buffer.kind].append(buffer.bytes)
    held = (Held(*key, len(sizes), sum(sizes)) for key, sizes in by_name.items())
    buffers = tuple(sorted(held, key=lambda h: (-h.bytes, h.name)))
    return PeakMemory(figures, _largest_first(by_layer.items()), buffers)


def layer_name(layer: int | None) -> str:
    """Return what a layer is called."""
    return OUTSIDE if layer is None else f"{layer}"


def _largest_first(items: Iterable[tuple[str, int]]) -> dict[str, int]:
    return dict(sorted(items, key=lambda item: -item[1]))
