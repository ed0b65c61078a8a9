"""A topology with slow devices and changed or lost links: one `Topology` from another."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tspsim.files.errors import did_you_mean
from tspsim.topology.disturbances import ChangedLink
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Pace

#: How many neighbours of a vertex a message lists.
_LISTED = 8


def slowed(topology: Topology, paces: Mapping[int, Pace]) -> Topology:
    """Return a topology in which some devices do not reach what they state.

    Parameters
    ----------
    topology : Topology
    paces : Mapping
        By number of the device.
    """
    devices = list(topology.devices)
    for number, pace in paces.items():
        devices[number] = replace(devices[number], pace=pace)
    return replace(topology, devices=tuple(devices))


def relinked(topology: Topology, changes: Sequence[ChangedLink]) -> Topology:
    """Return a topology with some links slower or gone; those that stay are numbered anew.

    It may be in pieces: ask `pieces`. Routes are those of any topology: the fewest hops over what
    is left, through other devices where no switch leads there.
    """
    if not changes:
        return topology
    by_ends = {ends: change for change in changes for ends in directions(change)}
    kept: list[Link] = []
    for link in topology.links:
        change = by_ends.get((link.source, link.target))
        if change is None:
            kept.append(replace(link, index=len(kept)))
        elif not change.lost:
            kept.append(_changed(replace(link, index=len(kept)), change))
    return replace(topology, links=tuple(kept))


def _changed(link: Link, change: ChangedLink) -> Link:
    bandwidth = link.bandwidth * change.speed if change.bandwidth is None else change.bandwidth
    latency = link.latency if change.latency is None else change.latency
    return replace(link, bandwidth=bandwidth, latency=latency)


def directions(change: ChangedLink) -> tuple[tuple[str, str], ...]:
    """Return the directed links that a change is about, as (source, target)."""
    there = (change.source, change.target)
    return (there,) if change.one_way else (there, there[::-1])


def missing(topology: Topology, change: ChangedLink) -> str | None:
    """Say what of a changed link the topology does not have; None when all is there."""
    vertices = set(topology.graph.nodes)
    for end in (change.source, change.target):
        if end not in vertices:
            return _unknown(end, topology)
    for source, target in directions(change):
        if not topology.graph.has_edge(source, target):
            near = list(topology.graph.successors(source))
            more = f" and {len(near) - _LISTED} more" if len(near) > _LISTED else ""
            joined = f"{source} is joined to {', '.join(near[:_LISTED])}{more}"
            return f"there is no link from {source} to {target}; {joined}"
    return None


def _unknown(end: str, topology: Topology) -> str:
    found = end[1:] if re.fullmatch(r"d-?\d+", end) else f"'{end}'"
    last = len(topology.devices) - 1
    switches = [v for v in topology.graph.nodes if not re.fullmatch(r"d\d+", v)]
    others = f" and {_some(switches)}" if switches else " alone"
    guess = did_you_mean(end, switches)
    return f"found {found}; topology '{topology.name}' has devices 0 to {last}{others}{guess}"


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return f"{', '.join(names[:_LISTED])}{more}"


def pieces(topology: Topology) -> tuple[tuple[int, ...], ...]:
    """Return the devices that still reach each other, piece by piece, the largest first.

    One piece: everything is connected. Links have directions, so devices belong together where
    there is a way there and a way back.
    """
    import networkx as nx  # a twentieth of a second: only for lost links

    found = []
    for vertices in nx.strongly_connected_components(topology.graph):
        devices = sorted(int(v[1:]) for v in vertices if re.fullmatch(r"d\d+", v))
        if devices:
            found.append(tuple(devices))
    return tuple(sorted(found, key=lambda piece: (-len(piece), piece)))


def ranges(numbers: Sequence[int]) -> str:
    """Return sorted numbers as ``"0-3, 5"``."""
    return ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in _runs(numbers))


def _runs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    first = last = numbers[0]
    for number in numbers[1:]:
        if number != last + 1:
            yield first, last
            first = number
        last = number
    yield first, last
