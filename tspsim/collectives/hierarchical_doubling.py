"""Two levels as `hierarchical`, with recursive halving and doubling across instead of a ring.

``log2 N`` steps over N nodes where the ring takes N-1: for messages in which the latency of the
network counts. Broadcast, reduce and all-to-all are those of `hierarchical`.
"""

from __future__ import annotations

from tspsim.collectives import halving_doubling, recursive_doubling
from tspsim.collectives.algorithm import Anywhere
from tspsim.collectives.hierarchical import Hierarchical
from tspsim.collectives.schedule import Schedule
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology

_KINDS = ("all_gather", "reduce_scatter", "all_reduce")


class HierarchicalDoubling(Hierarchical):
    """The algorithm; it needs several nodes with as many members in each, two or more."""

    name = "hierarchical_doubling"
    automatic = ()
    exchanges = False

    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        return super().on(kind, ranks, topology, root) if kind in _KINDS else None

    def crossing(self, kind: CollectiveKind) -> Anywhere:
        """Return how members of one place send to each other: doubling over the nodes."""
        return recursive_doubling.plan if kind == "all_gather" else halving_doubling.plan

    def refusal(self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology) -> str:
        """Return why there is no plan."""
        if kind not in _KINDS:
            return f"it has no {kind} of its own; 'hierarchical' has"
        return super().refusal(kind, ranks, topology)


plan = HierarchicalDoubling()
