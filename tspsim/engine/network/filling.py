"""Max-min fair sharing among thousands of flows: `tspsim.engine.network.rates` over flat arrays.

The method is the same progressive filling (Bertsekas and Gallager, *Data Networks*, 2nd ed., 1992,
section 6.5.2), but no matrix of flows and links is made: a thousand flows cross a few links each.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.network.ragged import Integers

#: Links that fill up at speeds closer than this fill up together, as in
#: `tspsim.engine.network.rates`.
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


def fair(crossings: Crossings, flows: int, bandwidth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the max-min fair speed of every flow.

    Parameters
    ----------
    crossings : Crossings
    flows : int
        How many there are.
    bandwidth : ndarray of float64
        Bytes/s by link.
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
