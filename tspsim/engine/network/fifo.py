"""Links that serve whole flows in order of arrival, for fabrics that do not share fairly.

A flow holds all its links from its first byte to its last. It arrives at all of them in the same
moment, and the same order of arrival counts on every link, so flows never wait for each other in a
circle. A flow that waits for one link keeps those behind it waiting on its other links too: this is
what is called head-of-line blocking.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Generic

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.calendar import Calendar, Clock
from tspsim.engine.network.coflow import AnyFlow, Flow, Loads
from tspsim.engine.network.ragged import Integers


class FifoNetwork(Generic[AnyFlow]):
    """The links and the flows on them, with the door of `tspsim.engine.network.coflow.Network`.

    Parameters
    ----------
    environment : Clock
    through : callable
        Called with every flow whose last byte has arrived.
    served : callable, optional
        Called with a flow when its first byte leaves.
    """

    def __init__(
        self,
        environment: Clock,
        through: Callable[[list[AnyFlow]], None],
        served: Callable[[AnyFlow], None] | None = None,
    ) -> None:
        self._environment, self._through, self._served = environment, through, served
        self._links: list[tuple[int, ...]] = []  # by pattern
        self._known: dict[tuple[int, ...], int] = {}
        self._queues: dict[int, deque[AnyFlow]] = {}
        self._ahead: dict[AnyFlow, int] = {}  # links that others hold or will hold before it
        self._ends: Calendar[AnyFlow] = Calendar(environment, self._due)

    def pattern(self, loads: Loads, held: float = 1.0) -> int:
        """Return the number that stands for some links; how much they carry does not matter."""
        del held
        links = tuple(link for link, load in loads if load > 0)
        if links not in self._known:
            self._known[links] = len(self._links)
            self._links.append(links)
        return self._known[links]

    def start(self, flow: AnyFlow) -> None:
        """Let a flow arrive at its links."""
        queues = [self._queues.setdefault(link, deque()) for link in self._links[flow.pattern]]
        self._ahead[flow] = sum(bool(queue) for queue in queues)
        for queue in queues:
            queue.append(flow)
        if not self._ahead[flow]:
            self._serve(flow)

    def _serve(self, flow: AnyFlow) -> None:
        flow.start = flow.since = self._environment.now
        flow.rate = 1.0
        flow.end = self._ends.add(flow.left, flow)
        if self._served is not None:
            self._served(flow)

    def _due(self, flows: list[AnyFlow]) -> None:
        """Let those go that are through; who is first on all its links then is served."""
        for flow in flows:
            del self._ahead[flow]
            for link in self._links[flow.pattern]:
                queue = self._queues[link]
                queue.popleft()
                if queue:
                    self._ahead[queue[0]] -= 1
                    if not self._ahead[queue[0]]:
                        self._serve(queue[0])
        self._through(flows)


class _Item(Flow):
    """A flow with the label of `tspsim.engine.network.flows.Flows`."""

    __slots__ = ("item", "owner")

    def __init__(self, pattern: int, alone: float, owner: int, item: int) -> None:
        super().__init__(pattern, alone)
        self.owner, self.item = owner, item


class FifoFlows:
    """The same links for batches of flows, with the door of `tspsim.engine.network.flows.Flows`.

    Parameters
    ----------
    environment : Clock
    through : callable
        Called with owners and items.
    served : callable
        Called with an owner and an item when its first byte leaves.
    """

    def __init__(
        self,
        environment: Clock,
        through: Callable[[Integers, Integers], None],
        served: Callable[[int, int], None],
    ) -> None:
        def label(flows: list[_Item]) -> None:
            through(np.array([f.owner for f in flows]), np.array([f.item for f in flows]))

        self._network = FifoNetwork(environment, label, lambda f: served(f.owner, f.item))
        #: As `FifoNetwork.pattern`.
        self.pattern = self._network.pattern

    def start(
        self, patterns: Integers, alone: NDArray[np.float64], owner: int, items: Integers
    ) -> None:
        """Let flows arrive at their links, in this order."""
        for pattern, seconds, item in zip(
            patterns.tolist(), alone.tolist(), items.tolist(), strict=True
        ):
            self._network.start(_Item(pattern, seconds, owner, item))
