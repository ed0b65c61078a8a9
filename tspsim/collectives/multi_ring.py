"""Several rings at once, each with its part of the message: as many as share no link.

Inside a node they go over direct links between members, both ways round every ring that is found
(on a torus one ring per dim, on a full mesh of n about n/2). Over several nodes they are those of
`ring`. Steps and bytes are those of one ring; the rings share the load.
"""

from __future__ import annotations

from tspsim.collectives import circle
from tspsim.collectives.algorithm import Sending
from tspsim.collectives.rings import Ring, across, edge_disjoint, groups, joined, regular
from tspsim.collectives.schedule import Schedule, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

_KINDS = ("all_gather", "reduce_scatter", "all_reduce", "broadcast", "reduce")


class MultiRing(Sending):
    """The algorithm; where all are joined to all, `direct` loads the same links in fewer steps."""

    name = "multi_ring"
    automatic = ("fabric",)

    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        rings = rings_of(ranks, topology) if kind in _KINDS else ()
        return circle.over(kind, rings, root) if len(rings) > 1 else None

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        rings = rings_of(ranks, topology) if kind in _KINDS else ()
        found = circle.traffic_over(kind, rings) if len(rings) > 1 else None
        return found or super().traffic(kind, ranks, topology, root)

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
