"""What is asked of a collective algorithm, and what those that are described by sends share."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, Protocol

from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Schedule, Sends, Traffic, counted, planned, trivial
from tspsim.collectives.waves import Waves, waves_of
from tspsim.program.types import CollectiveKind, PlanKind
from tspsim.topology.graph import Topology

#: Where the members of a communicator are. ``flat``: in one node, every two joined by one link or
#: by one switch; ``fabric``: in one node, but some are several devices apart (a torus); ``nodes``:
#: in several nodes.
Reach = Literal["flat", "fabric", "nodes"]

EVERYWHERE: tuple[Reach, ...] = ("flat", "fabric", "nodes")


class Algorithm(Protocol):
    """A collective algorithm: a module of this folder, or of another package, has one as ``plan``.

    Only the call has to be written; what is said here of the rest holds for most.

    Attributes
    ----------
    automatic : tuple of Reach
        Where ``auto`` considers it. Elsewhere it has to be asked for: libraries do not use it.
    serving : bool
        Serving libraries alone have it: ``auto`` considers it where the profile says that they run,
        and has a protocol for it.
    """

    automatic: tuple[Reach, ...] = EVERYWHERE
    serving: bool = False

    @abstractmethod
    def __call__(
        self, kind: PlanKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Plan | None:
        """Return link loads and latency; None where the algorithm cannot do it.

        Parameters
        ----------
        kind : PlanKind
        ranks : tuple of int
            Members in communicator order; ``(sender, receiver)`` of a hop.
        topology : Topology
        root : int or None
            Position in `ranks` of a broadcast's or reduce's root.
        """

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it for n members in one of those places."""
        return True

    def refusal(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],  # noqa: ARG002
        topology: Topology,  # noqa: ARG002
    ) -> str:
        """Return why there is no plan, for the message of an error."""
        return f"it has no {kind}"

    def waves(
        self,
        kind: CollectiveKind,  # noqa: ARG002
        ranks: tuple[int, ...],  # noqa: ARG002
        topology: Topology,  # noqa: ARG002
        root: int | None,  # noqa: ARG002
    ) -> Waves | None:
        """Return what the members send; None where they do not send to each other."""
        return None


class Sending(Algorithm):
    """An algorithm whose sends say everything: its plan, and how to replay it.

    Attributes
    ----------
    name : str
        That of its file.
    """

    name: ClassVar[str]

    def __call__(
        self, kind: PlanKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Plan | None:
        """Return link loads and latency: see `Algorithm`."""
        if kind == "shift" or kind == "swap" or len(ranks) == 1:
            return planned(self.name, trivial(ranks), ranks, topology)
        traffic = self.traffic(kind, ranks, topology, root or 0)
        return None if traffic is None else planned(self.name, traffic, ranks, topology)

    def schedule(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Schedule | None:
        """Return what the members send; None where the algorithm cannot do it.

        Parameters
        ----------
        kind : CollectiveKind
        ranks : tuple of int
            Members in communicator order; ``(sender, receiver)`` of a shift.
        topology : Topology
        root : int or None
            Position in `ranks` of a broadcast's or reduce's root.
        """
        if kind == "shift" or len(ranks) == 1:
            return trivial(ranks)
        return self.on(kind, ranks, topology, root or 0)

    def waves(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int | None
    ) -> Waves | None:
        """Return what the members send as arrays, to be played send by send; see `schedule`."""
        schedule = self.schedule(kind, ranks, topology, root)
        return None if schedule is None else waves_of(schedule)

    @abstractmethod
    def on(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Schedule | None:
        """Return the sends of two members or more."""

    def traffic(
        self, kind: CollectiveKind, ranks: tuple[int, ...], topology: Topology, root: int
    ) -> Traffic | None:
        """Return who sends how much to whom: the sum of the sends, or worked out without them."""
        schedule = self.on(kind, ranks, topology, root)
        return None if schedule is None else schedule.traffic()

    def accepts(self, kind: CollectiveKind, reach: Reach, n: int) -> bool:  # noqa: ARG002
        """Return whether ``auto`` considers it for n members in one of those places.

        A hop is the same for all algorithms; `direct` answers for it.
        """
        return kind != "shift"


class Anywhere(Sending):
    """An algorithm that sends the same wherever the members are.

    Parameters
    ----------
    sends : callable
        ``sends(kind, n, root)``: the sends of n members, two or more; None: cannot do it.
    """

    def __init__(self, sends: Sends) -> None:
        self.sends = sends

    def on(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,  # noqa: ARG002
        root: int,
    ) -> Schedule | None:
        """Return the sends of two members or more."""
        return self.sends(kind, len(ranks), root)

    def traffic(
        self,
        kind: CollectiveKind,
        ranks: tuple[int, ...],
        topology: Topology,  # noqa: ARG002
        root: int,
    ) -> Traffic | None:
        """Return who sends how much to whom, summed once for all communicators of a size."""
        return counted(self.sends, kind, len(ranks), root)


def reach_of(ranks: tuple[int, ...], topology: Topology) -> Reach:
    """Return where the members of a communicator are.

    Only the first member's way to the others is looked at: a node is regular.
    """
    if topology.node_of and len({topology.node(rank) for rank in ranks}) > 1:
        return "nodes"
    for other in ranks[1:]:
        route = topology.route(ranks[0], other)
        between = [topology.links[link].target for link in route[:-1]]
        if len(between) > 1 or any(_is_device(vertex) for vertex in between):
            return "fabric"
    return "flat"


def _is_device(vertex: str) -> bool:
    return vertex[:1] == "d" and vertex[1:].isdigit()
