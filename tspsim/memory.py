"""Memory from lifetimes: what is alive on every rank at every moment of a timeline."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.program.types import Buffer


@dataclass(frozen=True, slots=True, eq=False)
class RankMemory:
    """Bytes alive on one rank, as a step function of time.

    Parameters
    ----------
    times : ndarray of float64, shape (n,)
        Moments at which something changes, increasing; the first is 0.
    by_kind : ndarray of int64, shape (len(BUFFER_KINDS), n)
        Bytes of every buffer kind from ``times[i]`` until ``times[i + 1]``.
    """

    times: NDArray[np.float64]
    by_kind: NDArray[np.int64]

    @property
    def total(self) -> NDArray[np.int64]:
        """Bytes of all kinds, shape (n,)."""
        return self.by_kind.sum(axis=0)

    @property
    def peak(self) -> int:
        """Largest total in bytes."""
        return int(self.total.max(initial=0))

    @property
    def peak_time(self) -> float:
        """First moment of the largest total, in seconds."""
        return float(self.times[int(self.total.argmax())])


@dataclass(frozen=True, slots=True, eq=False)
class MemoryTrace:
    """Memory of every rank over a step."""

    ranks: tuple[RankMemory, ...]


def trace(timeline: Timeline) -> MemoryTrace:
    """Return what is alive on every rank over time."""
    raise NotImplementedError


def alive(timeline: Timeline, rank: int, moment: float) -> tuple[Buffer, ...]:
    """Return the buffers alive on a rank at a moment, largest first."""
    raise NotImplementedError
