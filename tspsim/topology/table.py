"""The routes among many devices as flat arrays, for when most of them send to most others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, product

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]


class RouteTable:
    """All routes among some devices.

    Parameters
    ----------
    ranks : tuple of int
    route : callable
        ``route(source, target)`` -> indices of links.
    latencies : sequence of float
        Seconds, by link.
    """

    def __init__(
        self,
        ranks: tuple[int, ...],
        route: Callable[[int, int], tuple[int, ...]],
        latencies: Sequence[float],
    ) -> None:
        routes = [route(a, b) for a, b in product(ranks, ranks)]
        self._members = len(ranks)
        self._length = np.array([len(links) for links in routes], dtype=np.int64)
        self._first = np.cumsum(self._length) - self._length
        self._links = np.array([link for links in routes for link in links], dtype=np.int64)
        # One latency after another, as whoever walks along a route adds them.
        self._latency = np.array([sum(latencies[k] for k in links) for links in routes])

    def loads(self, sends: Sequence[tuple[int, int, int]]) -> tuple[dict[int, int], float]:
        """Return the chunks by link, and the latency of the route that has most.

        Parameters
        ----------
        sends : sequence of (int, int, int)
            Positions of source and target in `ranks`, and chunks.
        """
        flat = np.fromiter(chain.from_iterable(sends), dtype=np.int64, count=3 * len(sends))
        source, target, weight = flat.reshape(-1, 3).T
        pair = source * self._members + target
        length = self._length[pair]
        before = np.cumsum(length) - length
        places = np.arange(length.sum()) + np.repeat(self._first[pair] - before, length)
        links, chunks = self._links[places], np.repeat(weight, length)
        count = np.bincount(links, chunks)  # whole numbers far below 2**53: exact
        used = np.unique(links)
        found = zip(used.tolist(), count[used].astype(np.int64).tolist(), strict=True)
        return dict(found), float(self._latency[pair].max(initial=0.0))
