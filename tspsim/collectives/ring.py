"""Every member sends to the next one only: NCCL's Ring, on all NICs at once.

In one node there is one ring, in communicator order. Over several nodes of as many members there is
one ring per member of a node, each with a NIC of its own into and out of every node: what NCCL and
RCCL call channels, which share the message.
"""

from __future__ import annotations

import numpy as np

from tspsim.collectives import circle
from tspsim.collectives.algorithm import Sending
from tspsim.collectives.rings import Ring as Order
from tspsim.collectives.rings import across, regular
from tspsim.collectives.schedule import Schedule, Traffic, counted
from tspsim.collectives.waves import Wave, Waves
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class Ring(Sending):
    """The algorithm; its many sends are counted without writing them down."""

    name = "ring"

    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        rings = channels(kind, ranks, topology)
        return circle.over(kind, rings, root) if rings else sends(kind, len(ranks), root)

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        rings = channels(kind, ranks, topology)
        if rings:
            found = circle.traffic_over(kind, rings)
            return found or super().traffic(kind, ranks, topology, root)
        return circle.traffic(kind, len(ranks)) or counted(sends, kind, len(ranks), root)

    def waves(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Waves | None:
        """Return what the members send: one chunk each in every step, but in an all-to-all."""
        n = len(ranks)
        steps = {"all_gather": n - 1, "reduce_scatter": n - 1, "all_reduce": 2 * (n - 1)}
        if n == 1 or kind not in steps:
            return super().waves(kind, ranks, topology, root)
        rings = channels(kind, ranks, topology) or (tuple(range(n)),)
        pairs = sorted(
            pair for order in rings for pair in zip(order, order[1:] + order[:1], strict=True)
        )
        source, target = np.array(pairs, dtype=np.int64).T
        wave = Wave(source, target, np.ones_like(source), steps[kind])
        return Waves((wave,), pieces=n * len(rings))


plan = Ring()

#: What the members of one ring send.
sends = circle.sends


def channels(kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology) -> tuple[Order, ...]:
    """Return one ring per NIC of a node; nothing: one ring in communicator order is all."""
    nodes = None if kind == "all_to_all" else regular(ranks, topology)
    return across(nodes) if nodes else ()
