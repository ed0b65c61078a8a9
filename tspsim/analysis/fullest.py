"""The memory of the rank that comes closest to filling its device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from tspsim.memory import MemoryTrace, RankMemory
from tspsim.topology.graph import Topology


@dataclass(frozen=True, slots=True)
class MemoryFigures:
    """Memory of the rank that comes closest to filling its device; bytes and seconds.

    Parameters
    ----------
    capacity : float
        Memory of the device.
    peak : float
        Most that is ever taken, with what runtime, libraries and allocator hold beside buffers.
    peak_rank : int
    peak_time : float
    at_peak : Mapping
        What the peak consists of: `RankMemory.beside`, then by buffer kind; it adds up to `peak`.
    fits : bool
        No rank needs more than its device has.
    """

    capacity: float
    peak: float
    peak_rank: int
    peak_time: float
    at_peak: Mapping[str, float]
    fits: bool


def fill(
    memory: MemoryTrace, topology: Topology, ranks: Sequence[int] | None = None
) -> MemoryFigures:
    """Return the memory of that one of some ranks, or of all, that is the fullest."""
    ranks = ranks or range(len(memory.ranks))
    pairs = [(topology.devices[rank], memory.ranks[rank]) for rank in ranks]
    beside = cache(RankMemory.beside)  # ranks that behave alike share their memory
    peaks = [rank.peak + sum(beside(rank, device).values()) for device, rank in pairs]
    left = [device.memory - peak for (device, _), peak in zip(pairs, peaks, strict=True)]
    fullest = left.index(min(left))
    device, rank = pairs[fullest]
    at_peak = dict(beside(rank, device))
    at_peak.update(rank.at_peak.items())
    return MemoryFigures(
        device.memory, peaks[fullest], ranks[fullest], rank.peak_time, at_peak, min(left) >= 0
    )
