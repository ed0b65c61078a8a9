"""Plays a collective as one coflow: ``network.detail: coflow``."""

from __future__ import annotations

from collections.abc import Iterator

import simpy

from tspsim.collectives.plan import Plan
from tspsim.engine.calendar import Calendar
from tspsim.engine.calls import Calls, Exchange, Planner
from tspsim.engine.fifo import FifoNetwork
from tspsim.engine.fold import Fold
from tspsim.engine.meetings import Meeting
from tspsim.engine.network import Network
from tspsim.engine.players import Carried, Through
from tspsim.engine.symmetric import Symmetry
from tspsim.program.types import Message
from tspsim.topology.graph import Topology


class Coflows:
    """The player of coflows.

    Parameters
    ----------
    environment : simpy.Environment
    topology : Topology
    planner : Planner
    through : callable
        Called with exchanges whose last byte has arrived.
    sharing : str
        ``"fair"`` or ``"fifo"``.
    fold : Fold, optional
        Whose images share the links too; only where sharing is fair.
    """

    def __init__(
        self,
        environment: simpy.Environment,
        topology: Topology,
        planner: Planner,
        through: Through,
        sharing: str = "fair",
        fold: Fold | None = None,
    ) -> None:
        self._environment, self._through = environment, through
        bandwidth = [link.bandwidth for link in topology.links]
        self._network: Network[Exchange] | FifoNetwork[Exchange] = (
            FifoNetwork(environment, through)
            if sharing == "fifo"
            else Network(environment, bandwidth, through)
        )
        self._calls = Calls(topology, planner, self._pattern)
        self._symmetry = Symmetry(fold, topology, planner) if fold and fold.turns else None
        self._latency: Calendar[Exchange] = Calendar(environment, self._launch)

    def _pattern(self, ranks: tuple[int, ...], message: Message, plan: Plan) -> int:
        if self._symmetry is None or isinstance(self._network, FifoNetwork):
            return self._network.pattern(plan.loads, plan.held)
        footprint = self._symmetry.footprint(ranks, message, plan)
        return self._network.pattern(plan.loads, plan.held, footprint)

    def begin(self, meeting: Meeting, factor: float = 1.0) -> None:
        """Begin the exchange of those who have met: its latency comes first."""
        exchange = self._calls.exchange(meeting)
        exchange.left *= factor
        self._latency.add(exchange.call.overhead * factor, exchange)

    def _launch(self, exchanges: list[Exchange]) -> None:
        """Put exchanges whose latency is over on the links."""
        empty: list[Exchange] = []
        for exchange in exchanges:
            if exchange.left > 0:
                self._network.start(exchange)
            else:
                exchange.start = self._environment.now
                empty.append(exchange)
        if empty:
            self._through(empty)

    def carried(self, exchange: Exchange) -> Iterator[Carried]:
        """Yield the one coflow."""
        call, now = exchange.call, self._environment.now
        yield Carried(0, call.ranks, call.plan.loads, exchange.start, now)
