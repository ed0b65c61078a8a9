"""Max-min fair sharing of links: progressive filling with weights, over flat arrays.

Bertsekas and Gallager, *Data Networks* (2nd ed., 1992), section 6.5.2: raise all speeds together;
whenever a link is full, freeze those that cross it; go on with the rest. Coflows and single sends
share by it alike. No matrix of flows and links is made: a thousand flows cross a few links each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.network.ragged import Integers

#: Links that fill up at speeds closer than this (relative) fill up together: float rounding must
#: not split flows that are alike.
_TOGETHER = 1e-12


class Crossings(NamedTuple):
    """Which flow crosses which link, one entry per crossing.

    Attributes
    ----------
    flow : ndarray of int64, shape (crossings,)
        From 0 up to the number of flows; every flow crosses at least one link.
    link : ndarray of int64, shape (crossings,)
    weight : ndarray of float64, shape (crossings,)
        Bytes on the link per byte of the flow's speed; positive.
    """

    flow: Integers
    link: Integers
    weight: NDArray[np.float64]


def crossings(weights: Sequence[Sequence[tuple[int, float]]], counts: Sequence[int]) -> Crossings:
    """Return the crossings of patterns of flows, each of which stands for all that are alike.

    Parameters
    ----------
    weights : sequence of sequences of (int, float)
        By pattern: the links that it crosses, and the bytes on that link per byte of its speed.
    counts : sequence of int
        How many flows of each pattern are active; they all get the same speed.
    """
    flow = np.repeat(np.arange(len(weights)), [len(pattern) for pattern in weights])
    link = np.array([link for pattern in weights for link, _ in pattern])
    loads = (
        weight * count
        for pattern, count in zip(weights, counts, strict=True)
        for _, weight in pattern
    )
    return Crossings(flow, link, np.fromiter(loads, np.float64, len(link)))


def fair(crossings: Crossings, flows: int, bandwidth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the max-min fair speed of every flow.

    Parameters
    ----------
    crossings : Crossings
    flows : int
        How many there are.
    bandwidth : ndarray of float64
        Bytes/s by link.

    Returns
    -------
    ndarray of float64, shape (flows,)
        In bytes/s.
    """
    row, weight = crossings.flow, crossings.weight
    links, column = np.unique(crossings.link, return_inverse=True)
    left = bandwidth[links]
    speeds = np.zeros(flows)
    while row.size:
        wanted = np.bincount(column, weight, len(links))
        level = np.divide(left, wanted, out=np.full_like(left, np.inf), where=wanted > 0)
        speed = level.min()
        full = level <= speed * (1 + _TOGETHER)
        frozen = np.zeros(flows, dtype=bool)
        frozen[row[full[column]]] = True
        speeds[frozen] = speed
        ending = frozen[row]
        left = left - speed * np.bincount(column[ending], weight[ending], len(links))
        row, column, weight = row[~ending], column[~ending], weight[~ending]
    return speeds
