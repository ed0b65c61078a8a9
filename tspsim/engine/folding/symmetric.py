"""Checks, message by message, that what is folded looks the same from every folded coordinate."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, permutations

import numpy as np

from tspsim.collectives.plan import Plan
from tspsim.engine.folding.fold import Asymmetric, Fold, Footprint, Rotation
from tspsim.engine.network.calls import Planner
from tspsim.program.types import Message
from tspsim.topology.graph import Topology
from tspsim.topology.symmetry import Indices

#: Up to so many members the routes between all of them are compared; beyond, plans are.
_FEW = 24


class Symmetry:
    """The checks of one run; what has been checked is remembered.

    Parameters
    ----------
    fold : Fold
    topology : Topology
    planner : Planner
    """

    def __init__(self, fold: Fold, topology: Topology, planner: Planner) -> None:
        self._fold, self._topology, self._planner = fold, topology, planner
        self._same: set[tuple[int, ...]] = set()

    def footprint(self, ranks: tuple[int, ...], message: Message, plan: Plan) -> Footprint:
        """Return what a planned message and its images put on the links.

        A message whose members are the same from all coordinates of an axis may load its own links
        unevenly along it; what that does to those who share one with it is seen when they do.

        Raises
        ------
        Asymmetric
            When the images of its members would send the message another way, or share links with
            it that are loaded unevenly.
        """
        hop = message.collective == "shift"
        moving, uneven = {}, set()
        for place, rotation in enumerate(self._fold.rotations):
            if rotation.moves(ranks, hop=hop):
                moving[place] = rotation
            elif not _invariant(plan, rotation):
                uneven.add(rotation.axis)
        if moving and not self._images_agree(ranks, message, plan, found := list(moving.values())):
            alone = [r for r in found if not self._images_agree(ranks, message, plan, [r])]
            raise Asymmetric(frozenset(rotation.axis for rotation in alone or found))
        if uneven and not self._apart(ranks, plan):
            raise Asymmetric(frozenset(uneven))
        shared = self._fold.shared(ranks, plan.loads, hop=hop)
        return Footprint(shared, frozenset(uneven), tuple(moving))

    def _apart(self, ranks: tuple[int, ...], plan: Plan) -> bool:
        """Whether the images of a collective load links of their own."""
        images = self._fold.everywhere(ranks, plan.loads, hop=False)
        links = [link for _, loads in images for link, _ in loads]
        return len(links) == len(set(links))

    def _images_agree(
        self, ranks: tuple[int, ...], message: Message, plan: Plan, moving: Sequence[Rotation]
    ) -> bool:
        if len(ranks) > _FEW:
            return self._same_plans(ranks, message, plan, moving)
        if ranks not in self._same:
            pairs = list(permutations(ranks, 2))
            links = list(chain.from_iterable(self._topology.route(a, b) for a, b in pairs))
            if not self._same_routes(np.array(pairs), np.array(links, dtype=np.intp), moving):
                return False
            self._same.add(ranks)
        return True

    def _same_routes(self, pairs: Indices, links: Indices, moving: Sequence[Rotation]) -> bool:
        """Whether the image of every route is the route between the images of its ends."""
        if not moving:
            found = chain.from_iterable(self._topology.route(a, b) for a, b in pairs.tolist())
            return bool(list(found) == links.tolist())
        rotation, *others = moving
        for _ in range(rotation.order):
            if not self._same_routes(pairs, links, others):
                return False
            pairs, links = rotation.ranks[pairs], rotation.links[links]
        return True

    def _same_plans(
        self, ranks: tuple[int, ...], message: Message, plan: Plan, moving: Sequence[Rotation]
    ) -> bool:
        """Whether the images of the members plan the image of the plan."""
        links = np.array([link for link, _ in plan.loads], dtype=np.intp)
        loads = [load for _, load in plan.loads]
        return self._plan_follows(np.array(ranks), links, loads, message, moving)

    def _plan_follows(
        self,
        ranks: Indices,
        links: Indices,
        loads: list[float],
        message: Message,
        moving: Sequence[Rotation],
    ) -> bool:
        if not moving:
            members = tuple(ranks.tolist())
            found = self._planner.choose(message.collective, message.bytes, members, message.root)
            return dict(found.loads) == dict(zip(links.tolist(), loads, strict=True))
        rotation, *others = moving
        for _ in range(rotation.order):
            if not self._plan_follows(ranks, links, loads, message, others):
                return False
            ranks, links = rotation.ranks[ranks], rotation.links[links]
        return True


def _invariant(plan: Plan, rotation: Rotation) -> bool:
    loads = dict(plan.loads)
    return all(loads.get(int(rotation.links[link])) == load for link, load in plan.loads)
