"""The two levels of a regular set of nodes: N nodes with m members each, and what they send.

Member l of node g is at place ``(g, l)``. The members of one l form a rail.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import permutations

from tspsim.collectives.bidirectional_ring import mirrored
from tspsim.collectives.rings import regular
from tspsim.collectives.schedule import Hops, Schedule, Send, Step, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

#: The chunks that travel on every rail: ``chunks[l]``.
Chunks = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Levels:
    """Members by node.

    Parameters
    ----------
    members : tuple of tuple of int
        Positions in the communicator: ``members[g][l]``.
    """

    members: tuple[tuple[int, ...], ...]

    @property
    def nodes(self) -> int:
        """How many, N."""
        return len(self.members)

    @property
    def size(self) -> int:
        """Members of a node, m."""
        return len(self.members[0])

    @property
    def count(self) -> int:
        """All members."""
        return self.nodes * self.size

    @cached_property
    def rails(self) -> tuple[tuple[int, ...], ...]:
        """``rails[l][g]``."""
        return tuple(zip(*self.members, strict=True))

    def node_of(self, position: int) -> int:
        """Return g of a position."""
        return next(g for g, members in enumerate(self.members) if position in members)

    def inside(self, chunks: Chunks, reduce: bool) -> tuple[Step, ...]:
        """Every member sends to the others of its node: its rail's chunks, or what is theirs.

        With `reduce` the chunks of a member's rail arrive there from all others of the node.
        """
        step = [
            Send(a, b, some, reduce)
            for members in self.members
            for source, a in enumerate(members)
            for target, b in enumerate(members)
            if a != b
            for some in spans(chunks[target if reduce else source])
        ]
        return (tuple(step),)

    def across(self, schedule: Schedule, chunks: Chunks) -> tuple[Step, ...]:
        """Every rail does what a schedule of N members says, with its own chunks."""
        return tuple(
            tuple(
                Send(rail[send.source], rail[send.target], some, send.reduce)
                for rail, own in zip(self.rails, chunks, strict=True)
                for send in step
                for some in spans(tuple(own[c] for c in send.chunks))
            )
            for step in schedule.steps
        )

    def traffic(self, stages: tuple[Traffic | None, ...], share: int, pieces: int) -> Traffic:
        """Return the traffic of phases: what goes across, by a traffic of N members; None: inside.

        Parameters
        ----------
        stages : tuple of Traffic or None
        share : int
            Chunks that two members of a node send to each other inside.
        pieces : int
        """
        pairs = tuple(pair for members in self.members for pair in permutations(members, 2))
        found = []
        for stage, crossing in enumerate(stages):
            if crossing is None:
                if pairs:
                    found.append(Hops(tuple((a, b, share) for a, b in pairs), 1, stage))
                continue
            for hops in crossing.hops:
                sends = tuple(
                    (rail[a], rail[b], count) for rail in self.rails for a, b, count in hops.sends
                )
                found.append(Hops(sends, hops.steps, stage))
        return Traffic(tuple(found), pieces, pipelined=True)

    def exchanged(self) -> Traffic:
        """Return the traffic of an all-to-all: what is for a rail inside, what is for a node after.

        See Also
        --------
        exchange_inside, exchange_across : The sends.
        """
        inside, across = (
            tuple((a, b, count) for some in sets for a, b in permutations(some, 2))
            for sets, count in ((self.members, self.nodes), (self.rails, self.size))
        )
        return Traffic((Hops(inside, 1, 0), Hops(across, 1, 1)), self.count, pipelined=True)

    def rooted(
        self, kind: CollectiveKind, tree: tuple[Step, ...], root: int
    ) -> tuple[tuple[Step, ...], ...]:
        """Return scatter inside the root's node, `tree` over nodes on every rail, gather inside.

        A reduce runs it backwards: `tree` is then that of a reduce.
        """
        home = self.members[self.node_of(root)]
        scatter = (
            tuple(Send(root, b, _one(place)) for place, b in enumerate(home) if b != root),
        )  # fmt: skip
        across = tuple(
            tuple(
                Send(rail[send.source], rail[send.target], _one(place), send.reduce)
                for place, rail in enumerate(self.rails)
                for send in step
            )
            for step in tree
        )
        gather = (
            tuple(
                Send(a, b, _one(place))
                for members in self.members
                for place, a in enumerate(members)
                for b in members
                if a != b and b != root
            ),
        )
        if kind == "reduce":
            return mirrored(gather), across, mirrored(scatter)
        return scatter, across, gather

    def exchange_inside(self) -> tuple[Step, ...]:
        """Return the sends inside: to member l of the node what is for member l of any node."""
        n = self.count
        step = [
            Send(a, b, _one(a * n + (target - a) % n))
            for members in self.members
            for a in members
            for place, b in enumerate(members)
            if a != b
            for target in self.rails[place]
        ]
        return (tuple(step),)

    def exchange_across(self) -> tuple[Step, ...]:
        """Return the sends along rails: to every other node what all of one's own have for it."""
        n = self.count
        step = [
            Send(a, b, _one(origin * n + (b - origin) % n))
            for rail in self.rails
            for g, a in enumerate(rail)
            for b in rail
            if a != b
            for origin in self.members[g]
        ]
        return (tuple(step),)


def of(ranks: tuple[int, ...], topology: Topology) -> Levels | None:
    """Return the levels; None unless there are several nodes, with two members or more in each."""
    members = regular(ranks, topology)
    return None if members is None else Levels(members)


def spans(numbers: tuple[int, ...]) -> list[range]:
    """Return numbers as ranges, as one where they are evenly spaced."""
    ordered = sorted(numbers)
    stride = ordered[1] - ordered[0] if len(ordered) > 1 else 1
    even = range(ordered[0], ordered[-1] + 1, stride)
    return (
        [even]
        if len(even) == len(ordered) and list(even) == ordered
        else [_one(number) for number in ordered]
    )


def _one(chunk: int) -> range:
    return range(chunk, chunk + 1)
