"""Two levels: inside every node all at once, then across nodes between members of the same place.

What crosses the network is one message per node, cut over all of its NICs. All-reduce: a
reduce-scatter inside, an all-reduce of the shards over a ring of nodes, an all-gather inside (Cho
et al. 2019, BlueConnect, doi:10.1147/JRD.2019.2947013). All-to-all: everything for place j of any
node goes to place j of one's own, then along its rail. The levels form a pipeline: while one part
of the message crosses, the next is reduced inside.
"""

from __future__ import annotations

from typing import ClassVar

from tspsim.collectives import binomial_tree, circle
from tspsim.collectives.algorithm import Anywhere, Reach, Sending
from tspsim.collectives.levels import Chunks, Levels, of
from tspsim.collectives.schedule import Schedule, Step, Traffic
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


class _Ring(Anywhere):
    """A ring over nodes, one member of each."""

    name = "ring"

    def traffic(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,  # noqa: ARG002
        root: int,  # noqa: ARG002
    ) -> Traffic | None:
        """Return who sends how much to whom: every step has the same hops."""
        return circle.traffic(kind, len(ranks))


_RING = _Ring(circle.sends)

#: What is cut into shards inside a node, so that every NIC carries one of them.
_SHARDED = ("all_gather", "reduce_scatter", "all_reduce")


class Hierarchical(Sending):
    """The algorithm; it needs several nodes with as many members in each, two or more."""

    name = "hierarchical"
    automatic: tuple[Reach, ...] = ("nodes",)
    exchanges: ClassVar[bool] = True  # it has an all-to-all of its own

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it.

        For an all-to-all alone: NCCL and RCCL have rings for the others, and `tree` for an
        all-reduce. 16 B200 in two nodes scatter at the rate of rings (published/collectives.csv),
        and all-reduces of 4 nodes at that of trees (nccl#1031).
        """
        return kind == "all_to_all"

    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        levels = of(ranks, topology)
        return None if levels is None else self.two_level(kind, levels, root)

    def two_level(self, kind: CollectiveKind, levels: Levels, root: int) -> Schedule | None:
        """Return the sends of a regular set of nodes."""
        if kind in _SHARDED:
            made = self.crossing(kind).sends(kind, levels.nodes, 0)
            assert made is not None
            chunks = _chunks(kind, levels, made.pieces)
            across = levels.across(made, chunks)
            phases = {
                "all_gather": (across, levels.inside(chunks, reduce=False)),
                "reduce_scatter": (levels.inside(chunks, reduce=True), across),
                "all_reduce": (
                    levels.inside(chunks, reduce=True), across, levels.inside(chunks, reduce=False)
                ),
            }  # fmt: skip
            return _staged(phases[kind], made.pieces * levels.size)
        if kind == "all_to_all":
            return _staged((levels.exchange_inside(), levels.exchange_across()), levels.count)
        tree = binomial_tree.sends(kind, levels.nodes, levels.node_of(root))
        return None if tree is None else _staged(levels.rooted(kind, tree.steps, root), levels.size)

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom, without all of the sends across."""
        levels = of(ranks, topology)
        if levels is not None and kind == "all_to_all" and self.exchanges:
            return levels.exchanged()
        if levels is None or kind not in _SHARDED:
            return super().traffic(kind, ranks, topology, root)
        crossing = self.crossing(kind).traffic(kind, ranks[: levels.nodes], topology, 0)
        assert crossing is not None
        stages = {
            "all_gather": (crossing, None),
            "reduce_scatter": (None, crossing),
            "all_reduce": (None, crossing, None),
        }
        return levels.traffic(stages[kind], crossing.pieces, crossing.pieces * levels.size)

    def crossing(self, kind: CollectiveKind) -> Anywhere:  # noqa: ARG002
        """Return how members of one place send to each other: a ring over the nodes."""
        return _RING

    def refusal(
        self,
        kind: CollectiveKind,  # noqa: ARG002
        ranks: tuple[int, ...],  # noqa: ARG002
        topology: Topology,  # noqa: ARG002
    ) -> str:
        """Return why there is no plan."""
        return "it needs several nodes with as many of them in each, two or more"


plan = Hierarchical()


def _chunks(kind: CollectiveKind, levels: Levels, pieces: int) -> Chunks:
    """Return the chunks of every rail: those of its members, or some of an all-reduce's."""
    if kind == "all_reduce":
        return tuple(tuple(range(at, at + pieces)) for at in range(0, levels.size * pieces, pieces))
    return levels.rails


def _staged(phases: tuple[tuple[Step, ...], ...], pieces: int) -> Schedule:
    """Return phases one after the other as a pipeline whose stages they are."""
    some = [steps for steps in phases if steps]
    steps = tuple(step for phase in some for step in phase)
    return Schedule(steps, pieces, pipelined=True, stages=tuple(map(len, some)))
