"""Finds the call behind a communication task: who took part, and what it would take alone."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

from tspsim.collectives.plan import Plan
from tspsim.engine.network.calls import Planner
from tspsim.engine.timeline import Timeline
from tspsim.program.types import Message, Program
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
    """Looks up the calls of a timeline.

    Parameters
    ----------
    timeline : Timeline
    topology : Topology
    planner : Planner
        The one that the timeline was made with, or one that plans alike.
    """

    def __init__(self, timeline: Timeline, topology: Topology, planner: Planner) -> None:
        self._timeline, self._topology, self._planner = timeline, topology, planner
        self._partners: dict[tuple[int, int, str, int], int] = {}

    def of(self, rank: int, op: int) -> PlayedCall | None:
        """Return what a communication task waits for to end; None where it needs nobody else.

        Of the two hops of a shift it is the one that ended last.
        """
        program = self._timeline.programs.of(rank)
        message, lane = program.ops[op].message, program.lanes[program.ops[op].lane]
        assert message is not None
        group = self._timeline.mesh.group(rank, lane.axis or "", lane.size)
        if message.collective != "shift":
            return self._call(rank, op, group, message) if len(group) > 1 else None
        place, degree = group.index(rank), len(group)
        if message.offset % degree == 0:
            return None
        sent = (rank, group[(place + message.offset) % degree])
        received = (group[(place - message.offset) % degree], rank)
        end = self._timeline.end[rank][op]
        last = sent if self._hop_end(rank, op, sent) == end else received
        return self._call(rank, op, last, message, pair=degree == 2)

    def _hop_end(self, rank: int, op: int, hop: tuple[int, int]) -> float | None:
        return self._hops.get((self._partner(rank, op, hop[0]), hop))

    @cached_property
    def _hops(self) -> dict[tuple[int, tuple[int, ...]], float]:
        """When every hop ended, by the sender's op and (sender, receiver)."""
        return {(t.op, t.ranks): t.end for t in self._timeline.transfers if t.collective == "shift"}

    def _call(
        self, rank: int, op: int, ranks: tuple[int, ...], message: Message, pair: bool = False
    ) -> PlayedCall:
        members = tuple((member, self._partner(rank, op, member)) for member in ranks)
        root = 0 if pair else message.root
        plan = self._planner.choose(message.collective, message.bytes, ranks, root)
        size, topology = message.bytes, self._topology
        fill = plan.overhead(size, topology) - plan.latency
        alone = size * plan.slowest(topology)
        link = _fullest(plan, topology) if alone else None
        return PlayedCall(members, plan.latency, max(0.0, fill), alone, link)

    def _partner(self, rank: int, op: int, member: int) -> int:
        """Return the op of a member that meets an op of a rank: the k-th of the same name."""
        roles = self._timeline.programs.role_of_rank
        if roles[rank] == roles[member]:
            return op
        program = self._timeline.programs.of(rank)
        name = program.lanes[program.ops[op].lane].name
        key = (roles[rank], roles[member], name, op)
        if key not in self._partners:
            ordinal = _on_lane(program, name).index(op)
            self._partners[key] = _on_lane(self._timeline.programs.of(member), name)[ordinal]
        return self._partners[key]


def _on_lane(program: Program, name: str) -> list[int]:
    return [op.index for op in program.ops if program.lanes[op.lane].name == name]


def _fullest(plan: Plan, topology: Topology) -> int:
    """Return the first of the links that need most time for their part of a message."""
    return max(plan.loads, key=lambda item: item[1] / topology.links[item[0]].bandwidth)[0]
