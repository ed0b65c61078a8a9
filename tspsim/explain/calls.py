"""Finds the exchange behind a communication task: who took part, and what it would take alone."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from tspsim.collectives.plan import Plan
from tspsim.engine.network.calls import Planner
from tspsim.engine.timeline import Timeline
from tspsim.program.partners import Partners
from tspsim.program.types import Message
from tspsim.topology.graph import Topology

Task = tuple[int, int]
"""Rank, and index of the op in its program."""


class PlayedCall(NamedTuple):
    """A collective, or one hop of a shift.

    Attributes
    ----------
    members : tuple of Task
        The tasks that had to meet; sender and receiver of a hop.
    latency, fill : float
        Seconds between the meeting and the first byte: of links and protocol, and of the
        algorithm's pipeline.
    alone : float
        Seconds that the transfer takes when it shares no link.
    link : int or None
        The link that it fills first; None where nothing travels.
    """

    members: tuple[Task, ...]
    latency: float
    fill: float
    alone: float
    link: int | None


class PlayedCalls:
    """Looks up the exchanges of a timeline.

    Parameters
    ----------
    timeline : Timeline
    topology : Topology
    planner : Planner
        The one that the timeline was made with, or one that plans alike.
    """

    def __init__(self, timeline: Timeline, topology: Topology, planner: Planner) -> None:
        self._timeline, self._topology, self._planner = timeline, topology, planner
        self._partners = Partners()

    def of(self, rank: int, op: int) -> PlayedCall | None:
        """Return what a communication task waits for to end; None where it needs nobody else.

        Of the two hops of a shift it is the one that ended last.
        """
        program = self._timeline.programs.of(rank)
        message, lane = program.ops[op].message, program.lanes[program.ops[op].lane]
        assert message is not None
        group = lane.members(self._timeline.mesh, rank)
        if not message.hop:
            return self._call(rank, op, group, message, len(group)) if len(group) > 1 else None
        place, degree = group.index(rank), len(group)
        if message.offset % degree == 0:
            return None
        other, before = (group[(place + way) % degree] for way in (message.offset, -message.offset))
        if message.collective != "shift":
            hop = (rank, other) if message.collective == "send" else (other, rank)
            return self._call(rank, op, hop, message, degree)
        end = self._timeline.end[rank][op]
        last = (rank, other) if self._hop_end(rank, op, (rank, other)) == end else (before, rank)
        return self._call(rank, op, last, message, degree)

    def _hop_end(self, rank: int, op: int, hop: tuple[int, int]) -> float | None:
        return self._hops.get((self._partner(rank, op, hop[0]), hop))

    @cached_property
    def _hops(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """When every hop ended, by the sender's op and (sender, receiver)."""
        return {(t.op, t.ranks): t.end for t in self._timeline.transfers if t.collective == "shift"}

    def _call(
        self, rank: int, op: int, ranks: tuple[int, ...], message: Message, degree: int
    ) -> PlayedCall:
        members = tuple((member, self._partner(rank, op, member)) for member in ranks)
        if message.hop:
            message = message.of_rank(self._timeline.mesh, ranks[0])
        kind = message.carried_as(degree)
        plan = self._planner.choose(kind, message.bytes, ranks, message.root)
        size, topology = message.bytes, self._topology
        fill = plan.overhead(size, topology) - plan.latency
        alone = size * plan.slowest(topology)
        link = _fullest(plan, topology) if alone else None
        return PlayedCall(members, plan.latency, max(0.0, fill), alone, link)

    def _partner(self, rank: int, op: int, member: int) -> int:
        """Return the op of a member that meets an op of a rank: see `tspsim.program.partners`."""
        if rank == member:
            return op
        mine, theirs = (self._timeline.programs.of(r) for r in (rank, member))
        return self._partners.find(mine, op, theirs)


def _fullest(plan: Plan, topology: Topology) -> int:
    """Return the first of the links that need most time for their part of a message."""
    return max(plan.loads, key=lambda item: item[1] / topology.links[item[0]].bandwidth)[0]
