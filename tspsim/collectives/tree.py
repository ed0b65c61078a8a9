"""NCCL's Tree: a chain inside every node, two binary trees over the nodes, on all NICs at once.

There are as many channels as members in a node, each with its part of the message. A channel's
chain begins at another member, by whose NIC it leaves the node, and takes the zigzag order in which
no two share a link of a full mesh (`tspsim.collectives.rings.across`). What the chains have summed
goes up a tree of nodes, the sum down again and along the chains. Half of a channel's part uses the
one tree, half the other, as in `double_binary_tree`: over two nodes a NIC carries half of what a
ring loads it with, over four and more as much, in ``log2 N`` steps across where a ring takes N-1.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from tspsim.collectives.algorithm import Reach, Sending
from tspsim.collectives.bidirectional_ring import mirrored
from tspsim.collectives.double_binary_tree import descent
from tspsim.collectives.plan import Plan
from tspsim.collectives.rings import chain, groups
from tspsim.collectives.schedule import Schedule, Send, Step, transfers
from tspsim.program.types import CollectiveKind, PlanKind
from tspsim.topology.graph import Topology


class Tree(Sending):
    """The algorithm; it needs several nodes, with as many members in each or not."""

    name = "tree"
    automatic: tuple[Reach, ...] = ("nodes",)

    def __call__(
        self, kind: PlanKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Plan | None:
        """Return link loads and latency: see `Algorithm`.

        Its stages are unlike each other: inside a node a part passes in a fraction of the time that
        it takes across. What fills the pipeline is what all stages take beyond the slowest link.
        """
        found = super().__call__(kind, ranks, topology, root)
        if found is None or not found.stages:
            return found
        traffic = self.traffic(kind, ranks, topology, 0)  # type: ignore[arg-type]
        assert traffic is not None
        each, slowest = transfers(traffic, ranks, topology), found.slowest(topology)
        return replace(found, stages=max(0.0, sum(each) / slowest - 1))

    def on(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,
        root: int,  # noqa: ARG002
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        nodes = groups(ranks, topology)
        return _all_reduce(nodes) if kind == "all_reduce" and len(nodes) > 1 else None

    def refusal(self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology) -> str:
        """Return why there is no plan."""
        if kind != "all_reduce":
            return super().refusal(kind, ranks, topology)
        return "it needs members in several nodes"


plan = Tree()


def _all_reduce(nodes: tuple[tuple[int, ...], ...]) -> Schedule:
    """Return up the chains, up the trees, and all of it backwards."""
    channels = max(map(len, nodes))
    across = [_across(nodes, channel) for channel in range(channels)]
    inside = [_inside(nodes, channel) for channel in range(channels)]
    down = (*_together(across), *_together(inside))
    return Schedule(mirrored(down) + down, pieces=2 * channels, pipelined=True)


def _across(nodes: tuple[tuple[int, ...], ...], channel: int) -> list[Step]:
    """Return the way down the two trees over the first members of a channel's chains."""
    heads = [members[channel % len(members)] for members in nodes]
    return [
        tuple(send._replace(chunks=_moved(send.chunks, 2 * channel)) for send in step)
        for step in descent(heads)
    ]


def _inside(nodes: tuple[tuple[int, ...], ...], channel: int) -> list[Step]:
    """Return the way along a channel's chains, both halves of its part together."""
    part = range(2 * channel, 2 * channel + 2)
    steps: list[list[Send]] = [[] for _ in range(max(map(len, nodes)) - 1)]
    for members in nodes:
        for step, (source, target) in enumerate(pairwise(chain(members, channel))):
            steps[step].append(Send(source, target, part))
    return [tuple(step) for step in steps]


def _together(channels: list[list[Step]]) -> tuple[Step, ...]:
    """Return the steps of all channels at once."""
    return tuple(
        tuple(send for step in steps for send in step) for steps in zip(*channels, strict=True)
    )


def _moved(chunks: range, by: int) -> range:
    return range(chunks.start + by, chunks.stop + by)
