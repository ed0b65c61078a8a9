"""Plays a collective as one coflow: ``network.detail: coflow``."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.collectives.plan import Plan
from tspsim.engine.calendar import Calendar, Clock
from tspsim.engine.folding.fold import Fold
from tspsim.engine.folding.symmetric import Symmetry
from tspsim.engine.meetings import Meeting
from tspsim.engine.network.calls import ActiveCall, Calls, Planner
from tspsim.engine.network.coflow import Network
from tspsim.engine.network.fifo import FifoNetwork
from tspsim.engine.network.players import Carried, Through
from tspsim.program.types import Message
from tspsim.topology.graph import Topology


class Coflows:
    """The player of coflows.

    Parameters
    ----------
    environment : Clock
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
        environment: Clock,
        topology: Topology,
        planner: Planner,
        through: Through,
        sharing: str = "fair",
        fold: Fold | None = None,
    ) -> None:
        self._environment, self._through = environment, through
        bandwidth = [link.bandwidth for link in topology.links]
        self._network: Network[ActiveCall] | FifoNetwork[ActiveCall] = (
            FifoNetwork(environment, through)
            if sharing == "fifo"
            else Network(environment, bandwidth, through, fold)
        )
        self._calls = Calls(topology, planner, self._pattern)
        self._symmetry = Symmetry(fold, topology, planner) if fold and fold.rotations else None
        self._latency: Calendar[ActiveCall] = Calendar(environment, self._launch)

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

    def _launch(self, exchanges: list[ActiveCall]) -> None:
        """Put exchanges whose latency is over on the links."""
        empty: list[ActiveCall] = []
        for exchange in exchanges:
            if exchange.left > 0:
                self._network.start(exchange)
            else:
                exchange.start = self._environment.now
                empty.append(exchange)
        if empty:
            self._through(empty)

    def carried(self, exchange: ActiveCall) -> Iterator[Carried]:
        """Yield the one coflow."""
        call, now = exchange.call, self._environment.now
        yield Carried(0, call.ranks, call.plan.loads, exchange.start, now)
