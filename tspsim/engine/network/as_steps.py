"""Plays a collective as its single sends: ``network.detail: steps``.

Every send is a flow of its own: it waits for what `tspsim.engine.network.gates` says, then for the
latency of its route, and then shares links with all other flows. What is due in one moment is
handled as arrays. A call ends for all its members when its last send has arrived, as in the coflow
form.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.plan import Plan
from tspsim.engine.calendar import Calendar, Clock
from tspsim.engine.meetings import Meeting
from tspsim.engine.network.calls import ActiveCall, Call, Calls, Planner
from tspsim.engine.network.fifo import FifoFlows
from tspsim.engine.network.flows import Flows, by_value
from tspsim.engine.network.players import Carried, Through
from tspsim.engine.network.ragged import Integers, spread
from tspsim.engine.network.sends import SendPlan, sends_of
from tspsim.program.types import Message
from tspsim.topology.graph import Topology


class Sends:
    """One call under way.

    Parameters
    ----------
    exchange : ActiveCall
    layout : SendPlan
    factor : float
        All its sends take so many times as long.
    """

    __slots__ = ("_awaited", "_closed", "end", "exchange", "factor", "layout", "left", "start")

    def __init__(self, exchange: ActiveCall, layout: SendPlan, factor: float) -> None:
        self.exchange, self.layout, self.factor = exchange, layout, factor
        self.left = len(layout.gates.kind)
        self.start = np.zeros(self.left)  # of every send: its first byte leaves
        self.end = np.zeros(self.left)
        self._awaited = (
            layout.gates.count + layout.gates.arrivals
        )  # by gate: what is not through yet
        self._closed = np.full(self.left, 2, dtype=np.int8)  # of the two gates of every send

    def open(self, gates: Integers) -> Integers:
        """Open gates; return the sends of which both ends have come so far."""
        all_ = self.layout.gates
        leaving = spread(all_.first[gates], all_.count[gates])
        arriving = all_.incoming[spread(all_.arriving[gates], all_.arrivals[gates])]
        self._closed[leaving] -= 1
        one = leaving[self._closed[leaving] == 0]
        self._closed[arriving] -= 1
        other = arriving[self._closed[arriving] == 0]  # a send of which both open now is here only
        return np.concatenate([one, other]) if one.size else other

    def finish(self, sends: Integers) -> Integers:
        """Count sends as through; return the gates that open."""
        all_ = self.layout.gates
        self.left -= len(sends)
        gates = np.concatenate([all_.sent_from[sends], all_.sent_to[sends]])
        np.subtract.at(self._awaited, gates, 1)
        passed = gates[self._awaited[gates] == 0]
        mark = -1 - np.arange(len(passed))
        self._awaited[passed] = mark  # of a gate that stands there twice, the last mark remains
        following = all_.following[passed[self._awaited[passed] == mark]]
        opened: Integers = following[following >= 0]
        return opened


class Links(Protocol):
    """What plays the flows: `Flows`, or `FifoFlows`."""

    def pattern(self, loads: tuple[tuple[int, float], ...], held: float = 1.0) -> int:
        """Return the number that stands for these loads."""

    def start(
        self, patterns: Integers, alone: NDArray[np.float64], owner: int, items: Integers
    ) -> None:
        """Put flows on their links."""


class Steps:
    """The player of single sends.

    Parameters
    ----------
    environment : Clock
    topology : Topology
    planner : Planner
    through : callable
        Called with exchanges whose last send has arrived.
    sharing : str
        ``"fair"`` or ``"fifo"``.
    """

    def __init__(
        self,
        environment: Clock,
        topology: Topology,
        planner: Planner,
        through: Through,
        sharing: str = "fair",
    ) -> None:
        self._environment, self._topology, self._through = environment, topology, through
        bandwidth = [link.bandwidth for link in topology.links]
        self._links: Links = (
            FifoFlows(environment, self._arrived, self._served)
            if sharing == "fifo"
            else Flows(environment, bandwidth, self._arrived)
        )
        self._calls = Calls(topology, planner, self._pattern)
        self._layouts: dict[int, tuple[Call, SendPlan]] = {}
        self._running: dict[int, Sends] = {}
        self._ended: dict[ActiveCall, Sends] = {}
        self._started = 0
        self._latency: Calendar[tuple[int, Integers]] = Calendar(environment, self._launch)
        self._protocol: Calendar[int] = Calendar(environment, self._open)

    def _pattern(self, ranks: tuple[int, ...], message: Message, plan: Plan) -> int:  # noqa: ARG002
        return self._links.pattern(plan.loads, plan.held)

    def begin(self, meeting: Meeting, factor: float = 1.0) -> None:
        """Begin the exchange of those who have met."""
        exchange = self._calls.exchange(meeting)
        layout = self._layout(exchange.call)
        self._started += 1
        self._running[self._started] = Sends(exchange, layout, factor)
        self._protocol.add(layout.before * factor, self._started)

    def _layout(self, call: Call) -> SendPlan:
        key = id(call)  # calls are kept, so that no other one gets this number
        if key not in self._layouts:
            self._layouts[key] = call, sends_of(call, self._topology, self._links.pattern)
        return self._layouts[key][1]

    def _open(self, owners: list[int]) -> None:
        for owner in owners:
            running = self._running[owner]
            self._begin(owner, running.open(running.layout.gates.opening))
            self._close(owner)

    def _begin(self, owner: int, sends: Integers) -> None:
        """Let the latency of sends pass."""
        if not sends.size:
            return
        running = self._running[owner]
        layout = running.layout
        latency = layout.kinds.latency[layout.gates.kind[sends]] * running.factor
        for delay, which in by_value(latency):
            self._latency.add(delay, (owner, sends[which]))

    def _launch(self, batches: list[tuple[int, Integers]]) -> None:
        """Put sends whose latency is over on their links."""
        now = self._environment.now
        for owner, sends in batches:
            running = self._running[owner]
            running.start[sends] = now
            kinds, kind = running.layout.kinds, running.layout.gates.kind[sends]
            alone = kinds.alone[kind] * running.factor
            if alone.all():
                self._links.start(kinds.pattern[kind], alone, owner, sends)
                continue
            some = alone > 0
            if some.any():
                self._links.start(kinds.pattern[kind[some]], alone[some], owner, sends[some])
            self._finish(owner, sends[~some])

    def _served(self, owner: int, send: int) -> None:
        """Note that a send has left only now: its links were taken when it came."""
        self._running[owner].start[send] = self._environment.now

    def _arrived(self, owners: Integers, sends: Integers) -> None:
        """Go on with the calls whose sends have arrived."""
        for owner, which in by_value(owners):
            self._finish(int(owner), sends[which])

    def _finish(self, owner: int, sends: Integers) -> None:
        running = self._running[owner]
        running.end[sends] = self._environment.now
        self._begin(owner, running.open(running.finish(sends)))
        self._close(owner)

    def _close(self, owner: int) -> None:
        """End a call when all its sends are through."""
        running = self._running[owner]
        if not running.left:
            del self._running[owner]
            self._ended[running.exchange] = running
            self._through([running.exchange])

    def carried(self, exchange: ActiveCall) -> Iterator[Carried]:
        """Yield every send of an exchange."""
        running, call = self._ended.pop(exchange), exchange.call
        kinds, route = running.layout.kinds, self._topology.route
        if running.layout.whole:
            yield Carried(0, call.ranks, call.plan.loads, running.start[0], running.end[0])
            return
        flows = [
            Carried(
                call.ranks.index(source),
                (source, target),
                tuple((link, share) for link in route(source, target)),
                start=0.0,
                end=0.0,
                send=True,
            )
            for source, target, share in zip(*(part.tolist() for part in kinds[:3]), strict=True)
        ]
        times = running.start.tolist(), running.end.tolist()
        for kind, start, end in zip(running.layout.gates.kind.tolist(), *times, strict=True):
            yield flows[kind]._replace(start=start, end=end)
