"""Max-min fair sharing of links among coflows (progressive filling, with weights).

Bertsekas and Gallager, *Data Networks* (2nd ed., 1992), section 6.5.2: raise all speeds together;
whenever a link is full, freeze those that cross it; go on with the rest.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Links that fill up at speeds closer than this (relative) fill up together: float rounding must
#: not split flows that are alike.
_TOGETHER = 1e-12


def max_min(
    weights: Sequence[Sequence[tuple[int, float]]],
    counts: Sequence[int],
    bandwidth: Sequence[float],
) -> NDArray[np.float64]:
    """Return the max-min fair speed of every pattern of coflows.

    Parameters
    ----------
    weights : sequence of sequences of (int, float)
        By pattern: the links that it crosses, and the bytes on that link per byte of its speed.
        Weights are positive and every pattern crosses at least one link.
    counts : sequence of int
        How many coflows of each pattern are active; they all get the same speed.
    bandwidth : sequence of float
        Bytes/s by link index.

    Returns
    -------
    ndarray of float64, shape (patterns,)
        Speed of one coflow of each pattern, in bytes/s.
    """
    use, capacity = _matrix(weights, counts, bandwidth)
    speeds = np.zeros(len(weights))
    free = np.ones(len(weights), dtype=bool)
    while free.any():
        wanted = free @ use
        left = capacity - speeds @ use
        level = np.divide(left, wanted, out=np.full_like(left, np.inf), where=wanted > 0)
        speed = level.min()
        full = level <= speed * (1 + _TOGETHER)
        frozen = free & (use[:, full] > 0).any(axis=1)
        speeds[frozen] = speed
        free &= ~frozen
    return speeds


def _matrix(
    weights: Sequence[Sequence[tuple[int, float]]],
    counts: Sequence[int],
    bandwidth: Sequence[float],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return bytes per byte of speed, shape (patterns, links), and the links' bandwidths."""
    links = sorted({link for pattern in weights for link, _ in pattern})
    column = {link: i for i, link in enumerate(links)}
    use = np.zeros((len(weights), len(links)))
    for row, (pattern, count) in enumerate(zip(weights, counts, strict=True)):
        for link, weight in pattern:
            use[row, column[link]] += weight * count
    return use, np.array([bandwidth[link] for link in links])
