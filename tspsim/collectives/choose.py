"""Chooses the algorithm of a collective call, as NCCL and RCCL do: the fastest for its size."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.collectives.plan import Algorithm, Plan
from tspsim.errors import TopologyError
from tspsim.program.types import CollectiveKind
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology

#: The name that stands for "whichever is fastest".
AUTO = "auto"


class _Call(NamedTuple):
    kind: CollectiveKind
    ranks: tuple[int, ...]
    root: int | None


class Planner:
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
        When no algorithm has that name.
    """

    def __init__(self, topology: Topology, algorithm: str = AUTO) -> None:
        names = _automatic() if algorithm == AUTO else (algorithm,)
        self._algorithms: dict[str, Algorithm] = {name: COLLECTIVES.get(name) for name in names}
        seen = topology.profile.collectives if algorithm == AUTO else ()
        self._seen: dict[str, Algorithm] = {kind: COLLECTIVES.get(name) for kind, name in seen}
        self._topology = topology
        self._plans: dict[_Call, tuple[Plan, ...]] = {}
        self._chosen: dict[tuple[_Call, float], Plan] = {}

    def choose(
        self, kind: CollectiveKind, size: float, ranks: tuple[int, ...], root: int | None
    ) -> Plan:
        """Return how a message travels.

        Parameters
        ----------
        kind : CollectiveKind
        size : float
            Bytes, as `Message.bytes` counts them.
        ranks : tuple of int
            Members in communicator order; ``(sender, receiver)`` of a shift.
        root : int or None
            Position in `ranks` of a broadcast's or reduce's root. For a shift, 0 says that the two
            are the whole communicator: the other hop goes the opposite way between them.

        Raises
        ------
        TopologyError
            When the algorithm cannot do this kind of collective; it names those that can.
        """
        call = _Call(kind, ranks, root)
        if (call, size) not in self._chosen:
            if call not in self._plans:
                self._plans[call] = self._plan(call)
            times = [plan.time(size, self._topology) for plan in self._plans[call]]
            self._chosen[call, size] = self._plans[call][times.index(min(times))]
        return self._chosen[call, size]

    def _plan(self, call: _Call) -> tuple[Plan, ...]:
        kind, ranks, root = call
        makers = (self._seen[kind],) if kind in self._seen else self._algorithms.values()
        made = (make(kind, ranks, self._topology, root) for make in makers)
        ways = self._topology.profile.protocols_of(kind)
        plans = tuple(
            variant
            for plan in made
            if plan is not None
            for variant in plan.under(ways, self._topology)
        )
        if not plans:
            able = [
                name
                for name in COLLECTIVES.names()
                if COLLECTIVES.get(name)(kind, ranks, self._topology, root) is not None
            ]
            raise TopologyError(
                f"network.algorithm: '{', '.join(self._algorithms)}' cannot do {kind} over "
                f"{len(ranks)} ranks; {', '.join(able) or 'none'} can"
            )
        return plans


def _automatic() -> tuple[str, ...]:
    """Return the algorithms that ``auto`` may take: all but those that say otherwise."""
    names = COLLECTIVES.names()
    return tuple(n for n in names if getattr(COLLECTIVES.get(n), "automatic", True))


def choose(
    kind: CollectiveKind,
    size: float,
    ranks: tuple[int, ...],
    topology: Topology,
    root: int | None = None,
    algorithm: str = AUTO,
) -> Plan:
    """Return how one message travels: `Planner.choose` for a single call.

    Raises
    ------
    UnknownNameError
        When no algorithm has that name.
    TopologyError
        When the algorithm cannot do this kind of collective.
    """
    return Planner(topology, algorithm).choose(kind, size, ranks, root)
