"""The time of one collective over its size, as nccl-tests and rccl-tests count and print it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tspsim.collectives.choose import AUTO, Chooser, usable
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Hops, Traffic, planned
from tspsim.program.types import CollectiveKind
from tspsim.topology.graph import Topology


@dataclass(frozen=True, slots=True)
class Point:
    """One call of one size where nothing else uses the links.

    Parameters
    ----------
    bytes : float
        The size as nccl-tests counts it, which is how `Message.bytes` does.
    time : float
        Seconds.
    busbw_factor : float
        Bus bandwidth / algorithm bandwidth.
    algorithm : str
    fitted : bool
        A constant of the profile is in its time; otherwise its links are taken as stated.
    protocol : (float, float)
        Seconds that pass whatever the size, and the part of the links' bandwidth that is achieved.
    """

    bytes: float
    time: float
    busbw_factor: float
    algorithm: str
    fitted: bool = False
    protocol: tuple[float, float] = (0.0, 1.0)

    @property
    def algbw(self) -> float:
        """Algorithm bandwidth in bytes/s: size / time; 0 where nothing is sent."""
        return self.bytes / self.time if self.time else 0.0

    @property
    def busbw(self) -> float:
        """Bus bandwidth in bytes/s: what a link carries where it is the bottleneck."""
        return self.algbw * self.busbw_factor


def busbw_factor(kind: CollectiveKind, ranks: int) -> float:
    """Return bus / algorithm bandwidth, as nccl-tests defines it (doc/PERFORMANCE.md there).

    ``2 (n-1)/n`` of an all-reduce, ``(n-1)/n`` of an all-gather, reduce-scatter and all-to-all,
    1 of a broadcast, reduce and hop (send and receive in a ring).
    """
    match kind:
        case "all_reduce":
            return 2 * (ranks - 1) / ranks
        case "all_gather" | "reduce_scatter" | "all_to_all":
            return (ranks - 1) / ranks
        case _:
            return 1.0


def curve(
    kind: CollectiveKind,
    sizes: Iterable[float],
    ranks: tuple[int, ...],
    topology: Topology,
    algorithm: str = AUTO,
) -> tuple[Point, ...]:
    """Return one point per size.

    Parameters
    ----------
    kind : CollectiveKind
        ``shift``: every member sends to the next one in the ring, all at once.
    sizes : iterable of float
        Bytes.
    ranks : tuple of int
        The devices that take part, in order. A root is the first of them.
    topology : Topology
    algorithm : str

    Raises
    ------
    UnknownNameError
        When no algorithm has that name.
    TopologyError
        When the algorithm cannot do it.
    """
    chooser = Chooser(topology, algorithm)
    factor = busbw_factor(kind, len(ranks))
    points = []
    for size in sizes:
        if kind == "shift":
            plan = hops(size, ranks, topology)
        else:
            plan = chooser.choose(kind, size, ranks, 0)
        seconds, protocol = plan.time(size, topology), (plan.latency, plan.efficiency)
        points.append(Point(size, seconds, factor, plan.algorithm, plan.fitted, protocol))
    return tuple(points)


def hops(size: float, ranks: tuple[int, ...], topology: Topology) -> Plan:
    """Return the plan of a hop of every member to the next one, in the best protocol."""
    n = len(ranks)
    sends = tuple((i, (i + 1) % n, 1) for i in range(n)) if n > 1 else ()
    plan = planned("direct", Traffic((Hops(sends),)), ranks, topology)
    ways = plan.under(topology.profile, "shift", topology, 2)
    return min(usable(ways, size), key=lambda way: way.time(size, topology))


def doubled(first: float, last: float) -> tuple[float, ...]:
    """Return the sizes from the first to the last, each twice the one before."""
    sizes = []
    while first <= last:
        sizes.append(first)
        first *= 2
    return tuple(sizes)
