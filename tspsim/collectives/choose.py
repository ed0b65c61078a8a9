"""Chooses the algorithm of a collective call, as NCCL and RCCL do: the fastest for its size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from tspsim.collectives.algorithm import Algorithm, Reach, reach_of
from tspsim.collectives.plan import Plan
from tspsim.files.errors import TopologyError
from tspsim.program.types import CollectiveKind, PlanKind
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology

#: The name that stands for "whichever is fastest".
AUTO = "auto"


class _Call(NamedTuple):
    kind: PlanKind
    ranks: tuple[int, ...]
    root: int | None

    @property
    def collective(self) -> CollectiveKind:
        """What profiles and algorithms know of it: a swap is two hops of a shift."""
        return "shift" if self.kind == "swap" else self.kind


class Chooser:
    """Plans collective calls on one topology and remembers every plan.

    Parameters
    ----------
    topology : Topology
    algorithm : str
        A name of `tspsim.registry.COLLECTIVES`, or ``"auto"``: the one that is fastest for the
        size where nothing else uses the links, the first by name among equals; or the one that
        the topology's profile names for this kind. The protocol is chosen alike, whatever the
        algorithm.

    Raises
    ------
    UnknownNameError
        When no algorithm has that name, or one that the profile names.
    """

    def __init__(self, topology: Topology, algorithm: str = AUTO) -> None:
        self._auto = algorithm == AUTO
        names = COLLECTIVES.names() if self._auto else (algorithm,)
        self._algorithms: dict[str, Algorithm] = {name: COLLECTIVES.get(name) for name in names}
        for way in topology.profile.protocols:
            if way.algorithm is not None:
                COLLECTIVES.get(way.algorithm)  # an unknown name is told before anything runs
        seen = topology.profile.collectives if algorithm == AUTO else ()
        self._seen: dict[str, Algorithm] = {kind: COLLECTIVES.get(name) for kind, name in seen}
        self._topology = topology
        self._plans: dict[_Call, tuple[Plan, ...]] = {}
        self._chosen: dict[tuple[_Call, float], Plan] = {}
        self._reaches: dict[tuple[int, ...], Reach] = {}

    def choose(self, kind: PlanKind, size: float, ranks: tuple[int, ...], root: int | None) -> Plan:
        """Return how a message travels.

        Parameters
        ----------
        kind : PlanKind
        size : float
            Bytes, as `Message.bytes` counts them.
        ranks : tuple of int
            Members in communicator order; ``(sender, receiver)`` of a shift.
        root : int or None
            Position in `ranks` of a broadcast's or reduce's root.

        Raises
        ------
        TopologyError
            When the algorithm cannot do this kind of collective; it names those that can.
        """
        call = _Call(kind, ranks, root)
        if (call, size) not in self._chosen:
            if call not in self._plans:
                self._plans[call] = self._plan(call)
            plans = usable(self._plans[call], size)
            times = [plan.time(size, self._topology) for plan in plans]
            self._chosen[call, size] = plans[times.index(min(times))]
        return self._chosen[call, size]

    def _plan(self, call: _Call) -> tuple[Plan, ...]:
        kind, ranks = call.collective, call.ranks
        if kind in self._seen:
            makers = {dict(self._topology.profile.collectives)[kind]: self._seen[kind]}
        elif self._auto:
            makers = self._considered(kind, ranks)
        else:
            makers = self._algorithms
        made = (make(call.kind, ranks, self._topology, call.root) for make in makers.values())
        plans = tuple(
            variant
            for plan in made
            if plan is not None
            for variant in plan.under(self._topology.profile, kind, self._topology, len(ranks))
        )
        if not plans:
            raise TopologyError(self._refusal(call, makers))
        return taken(plans, len(ranks))

    def _considered(self, kind: CollectiveKind, ranks: tuple[int, ...]) -> dict[str, Algorithm]:
        """Return what ``auto`` takes the fastest of: what libraries use for members like these."""
        reach = self._reaches.get(ranks)
        if reach is None:
            reach = self._reaches[ranks] = reach_of(ranks, self._topology)
        return {
            name: make
            for name, make in self._algorithms.items()
            if considered(make, kind, reach, len(ranks)) and self._is_there(name, make)
        }

    def _is_there(self, name: str, make: Algorithm) -> bool:
        """Return whether the libraries of the program have an algorithm, as far as is known."""
        profile = self._topology.profile
        return not make.serving or (
            profile.serving and any(way.algorithm == name for way in profile.protocols)
        )

    def _refusal(self, call: _Call, makers: Mapping[str, Algorithm]) -> str:
        kind, ranks, root = call.collective, call.ranks, call.root
        everything = {name: COLLECTIVES.get(name) for name in COLLECTIVES.names()}
        able = [n for n, make in everything.items() if make(kind, ranks, self._topology, root)]
        why = "; ".join(make.refusal(kind, ranks, self._topology) for make in makers.values())
        return (
            f"network.algorithm: '{', '.join(makers)}' cannot do {kind} over {len(ranks)} ranks"
            f"{f' ({why})' if why else ''}; {', '.join(able) or 'none'} can"
        )


def taken(plans: tuple[Plan, ...], members: int) -> tuple[Plan, ...]:
    """Return the plans that a library may take for so many members.

    Where the profile knows how some are carried, it is one of those: no library reaches what its
    links state.
    """
    some = tuple(p for p in plans if p.fewest <= members <= (p.most or members)) or plans
    return tuple(plan for plan in some if plan.fitted) or some


def usable(plans: tuple[Plan, ...], size: float) -> tuple[Plan, ...]:
    """Return the plans that a library chooses among for a size.

    Those whose protocol is for that size; before all others those whose protocol says where it
    begins, as the library was seen to switch there, faster or not.
    """
    fitting = tuple(plan for plan in plans if plan.first <= size <= plan.last) or plans
    return tuple(plan for plan in fitting if plan.first) or fitting


def considered(make: Algorithm, kind: CollectiveKind, reach: Reach, n: int) -> bool:
    """Return whether ``auto`` considers an algorithm for n members that are somewhere."""
    return reach in make.automatic and make.accepts(kind, reach, n)


def choose(
    kind: CollectiveKind,
    size: float,
    ranks: tuple[int, ...],
    topology: Topology,
    root: int | None = None,
    algorithm: str = AUTO,
) -> Plan:
    """Return how one message travels: `Chooser.choose` for a single call.

    Raises
    ------
    UnknownNameError
        When no algorithm has that name.
    TopologyError
        When the algorithm cannot do this kind of collective.
    """
    return Chooser(topology, algorithm).choose(kind, size, ranks, root)
