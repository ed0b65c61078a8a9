"""Several rings at once, each with its part of the message: as many as share no link.

Inside a node they go over direct links between members, both ways round every ring that is found
(on a torus one ring per dim, on a full mesh of n about n/2). Over several nodes there is one per
member of a node, each with a NIC of its own into and out of every node: what NCCL and RCCL call
channels. Steps and bytes are those of `ring`; the rings share the load.
"""

from __future__ import annotations

from tspsim.collectives import ring
from tspsim.collectives.algorithm import Sending
from tspsim.collectives.rings import Ring, across, edge_disjoint, groups, joined, regular
from tspsim.collectives.schedule import Hops, Schedule, Send, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

_KINDS = ("all_gather", "reduce_scatter", "all_reduce", "broadcast", "reduce")


class MultiRing(Sending):
    """The algorithm; where all are joined to all, `direct` loads the same links in fewer steps."""

    name = "multi_ring"
    automatic = ("fabric", "nodes")

    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        rings = rings_of(ranks, topology) if kind in _KINDS else ()
        return sends(kind, rings, root) if len(rings) > 1 else None

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        if kind not in ("all_gather", "reduce_scatter", "all_reduce"):
            return super().traffic(kind, ranks, topology, root)
        rings, n = rings_of(ranks, topology), len(ranks)
        steps = 2 * (n - 1) if kind == "all_reduce" else n - 1
        hops = tuple(
            (a, b, steps)
            for order in rings
            for a, b in zip(order, order[1:] + order[:1], strict=True)
        )
        return Traffic((Hops(hops, steps),), n * len(rings)) if len(rings) > 1 else None

    def refusal(self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology) -> str:
        """Return why there is no plan."""
        if kind not in _KINDS:
            return super().refusal(kind, ranks, topology)
        return "no two rings through all of them that share no link were found"


plan = MultiRing()


def rings_of(ranks: tuple[int, ...], topology: Topology) -> tuple[Ring, ...]:
    """Return the rings, in the direction in which they are used."""
    nodes = regular(ranks, topology)
    if nodes is not None:
        return across(nodes)
    if len(groups(ranks, topology)) > 1:
        return ()
    found = edge_disjoint(joined(ranks, topology))
    return tuple(way for order in found for way in (order, order[::-1]))


def sends(kind: CollectiveKind, rings: tuple[Ring, ...], root: int) -> Schedule:
    """Return what members send on some rings; part r of every chunk travels on ring r."""
    parts = len(rings)
    plans = [ring.sends(kind, len(order), order.index(root)) for order in rings]
    steps = [
        tuple(
            _on(send, rings[r], r, parts, plans[r].pieces)
            for r, step in enumerate(together)
            for send in step
        )
        for together in zip(*(plan.steps for plan in plans), strict=True)
    ]
    return Schedule(tuple(steps), plans[0].pieces * parts, plans[0].pipelined)


def _on(send: Send, order: Ring, part: int, parts: int, pieces: int) -> Send:
    """Return a send of a plain ring as one of part `part` among members in some order."""
    first = send.chunks.start if pieces == 1 else order[send.chunks.start]
    chunk = first * parts + part
    return Send(order[send.source], order[send.target], range(chunk, chunk + 1), send.reduce)
