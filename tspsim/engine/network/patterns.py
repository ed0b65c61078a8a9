"""Which links a flow loads, and how much: numbered, and laid out as flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.network.filling import Crossings
from tspsim.engine.network.ragged import Integers, spread

Loads = tuple[tuple[int, float], ...]


class _Flat(NamedTuple):
    """First crossing, number of crossings and speed alone by pattern; link and weight of each."""

    first: Integers
    length: Integers
    link: Integers
    weight: NDArray[np.float64]
    alone: NDArray[np.float64]


class Patterns:
    """Link loads relative to the bottleneck: the link that a flow fills first when alone.

    Parameters
    ----------
    bandwidth : sequence of float
        Bytes/s by link.
    """

    def __init__(self, bandwidth: Sequence[float]) -> None:
        self._bandwidth = bandwidth
        self._known: dict[tuple[Loads, float], int] = {}
        self._link: list[int] = []
        self._weight: list[float] = []
        self._starts: list[int] = [0]
        self._alone: list[float] = []  # bytes/s of the bottleneck, by pattern
        self._flat: _Flat | None = None

    def number(self, loads: Loads, held: float = 1.0) -> int:
        """Return the number that stands for these loads: see `Network.pattern`."""
        key = loads, held
        if key not in self._known:
            self._known[key] = len(self._alone)
            self._register(tuple(item for item in loads if item[1] > 0), held)
        return self._known[key]

    def _register(self, loads: Loads, held: float) -> None:
        bandwidth = self._bandwidth
        bottleneck, unit = max(loads, key=lambda item: item[1] / bandwidth[item[0]])
        self._link += [link for link, _ in loads]
        self._weight += [load / unit * held for _, load in loads]
        self._starts.append(len(self._link))
        self._alone.append(bandwidth[bottleneck])
        self._flat = None

    def _arrays(self) -> _Flat:
        if self._flat is None:
            starts = np.array(self._starts)
            self._flat = _Flat(
                starts[:-1],
                np.diff(starts),
                np.array(self._link),
                np.array(self._weight),
                np.array(self._alone),
            )
        return self._flat

    def links(self, patterns: Integers) -> Integers:
        """Return the links of all these flows, one flow after another."""
        flat = self._arrays()
        return flat.link[spread(flat.first[patterns], flat.length[patterns])]

    def crossings(self, patterns: Integers) -> Crossings:
        """Return which of these flows crosses which link."""
        flat = self._arrays()
        length = flat.length[patterns]
        places = spread(flat.first[patterns], length)
        flow = np.repeat(np.arange(len(patterns)), length)
        return Crossings(flow, flat.link[places], flat.weight[places])

    def alone(self, patterns: Integers) -> NDArray[np.float64]:
        """Return the bytes/s that each flow puts on its bottleneck when it is alone."""
        return self._arrays().alone[patterns]
