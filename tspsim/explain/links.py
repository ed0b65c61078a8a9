"""Links that are alike, and which of them a run is busy with."""

from __future__ import annotations

from collections import defaultdict
from typing import Literal, NamedTuple

from tspsim.engine.timeline import Timeline
from tspsim.topology.graph import Link, Topology

Loads = tuple[tuple[int, float], ...]
Property = Literal["bandwidth", "latency"]


class LinkClass(NamedTuple):
    """Links with one bandwidth, or with one latency.

    What is alike in bandwidth changes together: a message that goes through a NIC and on to a
    switch would gain nothing if only one of the two were faster.

    Attributes
    ----------
    what : {"bandwidth", "latency"}
    value : float
        Bytes/s or seconds.
    network : bool
        They leave the node; those inside are another class.
    """

    what: Property
    value: float
    network: bool

    def has(self, link: Link) -> bool:
        """Whether a link belongs to it."""
        return self == class_of(link, self.what)

    def named(self, topology: Topology) -> str:
        """Return for example ``"d0→d1 and 55 alike"``."""
        alike = [link for link in topology.links if self.has(link)]
        more = f" and {len(alike) - 1} alike" if len(alike) > 1 else ""
        return f"{alike[0].name}{more}"


def class_of(link: Link, what: Property = "bandwidth") -> LinkClass:
    """Return which class a link belongs to."""
    return LinkClass(what, link.bandwidth if what == "bandwidth" else link.latency, link.network)


def used_classes(
    timeline: Timeline, topology: Topology, what: Property = "bandwidth"
) -> list[LinkClass]:
    """Return the classes of links that carry something, those with the busiest link first."""
    busiest: dict[LinkClass, float] = {}
    for link, seconds in sorted(_seconds(timeline, topology).items()):
        kind = class_of(topology.links[link], what)
        busiest[kind] = max(busiest.get(kind, 0.0), seconds)
    return [kind for kind in sorted(busiest, key=lambda k: -busiest[k]) if busiest[kind]]


def _seconds(timeline: Timeline, topology: Topology) -> dict[int, float]:
    """Return how long each link would need for all that it carries."""
    moved: dict[int, tuple[Loads, float]] = {}  # plans share their loads: by identity
    for transfer in timeline.transfers:
        _, sent = moved.get(id(transfer.loads), ((), 0.0))
        moved[id(transfer.loads)] = transfer.loads, sent + transfer.bytes
    seconds: dict[int, float] = defaultdict(float)
    for loads, sent in moved.values():
        for link, load in loads:
            seconds[link] += sent * load / topology.links[link].bandwidth
    return seconds
