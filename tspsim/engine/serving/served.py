"""What became of requests: when each was served, and what a replica held over time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.serving.types import Request


@dataclass(frozen=True, slots=True, eq=False)
class Level:
    """A whole number over time: 0, and from each moment on what stands beside it.

    Parameters
    ----------
    times : array of float
        Seconds, ascending; each moment once.
    values : array of int
    """

    times: NDArray[np.float64]
    values: NDArray[np.int64]

    @classmethod
    def of(cls, changes: list[tuple[float, int]]) -> Level:
        """Return the level that changes at some moments make, given in any order."""
        moments = np.array([at for at, _ in changes], dtype=np.float64)
        times, place = np.unique(moments, return_inverse=True)
        total = np.zeros(len(times), dtype=np.int64)
        np.add.at(total, place, np.array([by for _, by in changes], dtype=np.int64))
        return cls(times, np.cumsum(total))

    @property
    def maximum(self) -> int:
        """The highest value."""
        return int(self.values.max(initial=0))

    def mean(self, first: float, last: float) -> float:
        """Return the mean over a time that holds all changes."""
        if last <= first:
            return 0.0
        lengths = np.diff(np.append(self.times, last))
        return float(self.values @ lengths) / (last - first)

    def at(self, moments: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the value at, and right behind, some moments."""
        before = np.searchsorted(self.times, moments, side="right")
        return np.concatenate([[0], self.values])[before]


@dataclass(frozen=True, slots=True, eq=False)
class Served:
    """What one replica did; arrays have one entry a request, in the order of arrival.

    Parameters
    ----------
    requests : tuple of Request
    started, first, ended : array of float
        When a request first ran, gave its first token, and its last one; seconds.
    preemptions : array of int
        How often it lost what was cached.
    gaps : array of float
        Seconds between tokens of one request that follow each other, of all requests.
    waiting, running, blocks : Level
        Requests in the queue, and in steps; blocks of the cache that are taken.
    steps, recomputed : int
        Steps, and the tokens that were computed again.
    busy : float
        Seconds of all steps.
    """

    requests: tuple[Request, ...]
    started: NDArray[np.float64]
    first: NDArray[np.float64]
    ended: NDArray[np.float64]
    preemptions: NDArray[np.int64]
    gaps: NDArray[np.float64]
    waiting: Level
    running: Level
    blocks: Level
    steps: int
    recomputed: int
    busy: float

    @property
    def arrivals(self) -> NDArray[np.float64]:
        """When requests came."""
        return np.array([request.arrival for request in self.requests])

    @property
    def span(self) -> tuple[float, float]:
        """From the first arrival to the last token."""
        return self.requests[0].arrival, float(self.ended.max())
