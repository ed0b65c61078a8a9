"""What a call costs: the plan of its algorithm, worked out once and looked up from then on."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple, Protocol, TypeAlias

from tspsim.collectives.plan import Plan
from tspsim.engine.meetings import Meeting
from tspsim.engine.network.coflow import Flow
from tspsim.program.types import Message, PlanKind
from tspsim.topology.graph import Topology


class Planner(Protocol):
    """Chooses the algorithm of a collective call."""

    def choose(self, kind: PlanKind, size: int, ranks: tuple[int, ...], root: int | None) -> Plan:
        """Return how a message of `size` bytes travels between `ranks`."""


#: Numbers what a planned message puts on the links: members, message, plan.
Numbering: TypeAlias = Callable[[tuple[int, ...], Message, Plan], int]


class Call(NamedTuple):
    """A collective call or hop as planned.

    Attributes
    ----------
    message : Message
    ranks : tuple of int
        The members; ``(sender, receiver)`` of a hop.
    plan : Plan
    overhead : float
        Seconds before the first byte: latency and pipeline fill.
    alone : float
        Seconds of the transfer where it shares no link.
    pattern : int
        Its links, as `Network` knows them; -1 where nothing travels.
    """

    message: Message
    ranks: tuple[int, ...]
    plan: Plan
    overhead: float
    alone: float
    pattern: int


class ActiveCall(Flow):
    """A collective, or one hop of a shift, that is under way.

    Parameters
    ----------
    call : Call
    tasks : list of int
        The tasks that wait for it; sender and receiver of a hop.
    """

    __slots__ = ("call", "tasks")

    def __init__(self, call: Call, tasks: list[int]) -> None:
        super().__init__(call.pattern, call.alone)
        self.call, self.tasks = call, tasks


class Calls:
    """Turns meetings into exchanges.

    Parameters
    ----------
    topology : Topology
    planner : Planner
    pattern : Numbering
    """

    def __init__(self, topology: Topology, planner: Planner, pattern: Numbering) -> None:
        self._topology, self._planner, self._pattern = topology, planner, pattern
        self._known: dict[tuple[tuple[int, ...], Message, int], Call] = {}

    def exchange(self, meeting: Meeting) -> ActiveCall:
        """Return the exchange that begins with a meeting."""
        key = (meeting.ranks, meeting.message, len(meeting.communicator.ranks))
        call = self._known.get(key)
        if call is None:
            call = self._known[key] = self._plan(*key)
        return ActiveCall(call, meeting.tasks)

    def _plan(self, ranks: tuple[int, ...], message: Message, members: int) -> Call:
        kind = message.carried_as(members)
        plan = self._planner.choose(kind, message.bytes, ranks, message.root)
        overhead = plan.overhead(message.bytes, self._topology)
        alone = message.bytes * plan.slowest(self._topology)
        pattern = self._pattern(ranks, message, plan) if alone > 0 else -1
        return Call(message, ranks, plan, overhead, alone, pattern)
