"""Which orders of a mesh's axes differ on a fabric, and which are the same seen from elsewhere."""

from __future__ import annotations

import itertools

import numpy as np

from tspsim.mesh import DP, PP, Mesh
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.placement import Axes, arrange
from tspsim.topology.graph import Topology
from tspsim.topology.symmetry import image_of_links


class Placements:
    """Finds the orders of axes that are worth trying.

    Two orders are the same where moving every rank from its device under one to its device under
    the other is a symmetry of the fabric: devices, links, and the routes inside every communicator
    land on their like.

    Parameters
    ----------
    topology : Topology
    """

    def __init__(self, topology: Topology) -> None:
        self._topology = topology
        self._known: dict[Axes, list[tuple[str, ...] | None]] = {}

    def orders(self, strategy: StrategyOptions) -> list[tuple[str, ...] | None]:
        """Return placements that differ, innermost axis first, or None for the strategy's own.

        That is a stated placement alone, and the strategy's own order before any other.
        """
        if strategy.placement is not None:
            return [strategy.placement]
        axes = _whole(strategy).axes
        if axes not in self._known:
            self._known[axes] = self._distinct(strategy)
        return self._known[axes]

    def _distinct(self, strategy: StrategyOptions) -> list[tuple[str, ...] | None]:
        if strategy.pp is not None:
            return self._of_pipeline(strategy, strategy.pp.stages)
        own = _whole(strategy)
        names = [name for name, degree in own.axes if degree > 1]
        single = [name for name, degree in own.axes if degree == 1]
        found: list[tuple[tuple[str, ...] | None, Mesh]] = [(None, own)]
        for order in itertools.permutations(names):
            placement = (*single, *reversed(order))
            mesh = arrange(strategy.axes(), strategy.dp, placement)
            if not any(self._alike(mesh, other) for _, other in found):
                found.append((placement, mesh))
        return [placement for placement, _ in found]

    def _of_pipeline(self, strategy: StrategyOptions, stages: int) -> list[tuple[str, ...] | None]:
        """Return its own order, stages outermost; and replicas outermost, where that differs.

        What an axis of the strategy says is far more than what stages do: it lies innermost.
        """
        own, inner = _whole(strategy), tuple(name for name, _ in reversed(strategy.axes()))
        if own.degree(PP) == 1 or own.degree(DP) == 1:
            return [None]
        other = (*inner, PP, DP)
        mesh = arrange(strategy.axes(), strategy.dp, other, stages)
        return [None] if self._alike(mesh, own) else [None, other]

    def _alike(self, one: Mesh, other: Mesh) -> bool:
        """Say whether a symmetry of the fabric carries one mesh onto the other."""
        if self._reach(one) != self._reach(other):
            return False
        moved = [0] * one.ranks
        for rank in range(one.ranks):
            moved[rank] = sum(one.coordinate(rank, name) * other.stride(name)
                              for name, _ in other.axes)  # fmt: skip
        devices = self._topology.devices
        if any(devices[a] != devices[b] for a, b in enumerate(moved)):
            return False
        links = image_of_links(self._topology, moved)
        return links is not None and self._routes_follow(one, moved, links.tolist())

    def _reach(self, mesh: Mesh) -> list[tuple[str, int]]:
        """Return, by axis, how many nodes rank 0 talks to: where that differs, so do the meshes."""
        node = self._topology.node
        reached = ((name, {node(r) for r in mesh.group(0, name)}) for name, _ in mesh.axes)
        return sorted((name, len(nodes)) for name, nodes in reached)

    def _routes_follow(self, mesh: Mesh, moved: list[int], links: list[int]) -> bool:
        """Say whether routes inside the communicators of a mesh are carried onto routes."""
        route = self._topology.route
        for name, _ in mesh.axes:
            for source in range(mesh.ranks):
                for target in mesh.group(source, name):
                    image = tuple(np.take(links, route(source, target)).tolist())
                    if image != route(moved[source], moved[target]):
                        return False
        return True


def _whole(strategy: StrategyOptions) -> Mesh:
    """Return a strategy's mesh in its own order, replicas as one axis whatever blocks they form."""
    stages = strategy.pp.stages if strategy.pp else 1
    return arrange(strategy.axes(), strategy.dp, None, stages)
