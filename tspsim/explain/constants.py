"""The constants of the hardware that a step time rests on, and topologies in which one differs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from tspsim.engine.timeline import Timeline
from tspsim.hardware import Device, Profile
from tspsim.topology.graph import Link, Topology

Loads = tuple[tuple[int, float], ...]

#: Classes of links whose constants are changed; every one takes six simulations.
MOST_CLASSES = 4


class LinkClass(NamedTuple):
    """Links that are alike.

    Attributes
    ----------
    bandwidth : float
        Bytes/s.
    latency : float
        Seconds.
    network : bool
        They leave the node.
    """

    bandwidth: float
    latency: float
    network: bool


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """One constant of the hardware.

    Parameters
    ----------
    key : str
        ``flop_rate``, ``memory_bandwidth``, ``launch``, ``link_bandwidth``, ``link_latency``,
        ``call_latency`` or ``memory``; of links with the number of their class behind a colon
        where there are several.
    value : float
        Of the first device or link, in SI units.
    unit : str
    on : str
        Which devices or links have it: ``"mi300x"``, ``"d0→d1 and 55 alike"``.
    scaled : callable
        ``scaled(topology, factor)``: the topology with this constant times a factor.
    """

    key: str
    value: float
    unit: str
    on: str
    scaled: Callable[[Topology, float], Topology]


def class_of(link: Link) -> LinkClass:
    """Return which class a link belongs to."""
    return LinkClass(link.bandwidth, link.latency, link.network)


def used_classes(timeline: Timeline, topology: Topology) -> list[LinkClass]:
    """Return the classes of links that carry something, those with the busiest link first."""
    moved: dict[int, tuple[Loads, float]] = {}  # plans share their loads: by identity
    for transfer in timeline.transfers:
        _, sent = moved.get(id(transfer.loads), ((), 0.0))
        moved[id(transfer.loads)] = transfer.loads, sent + transfer.bytes
    seconds: dict[int, float] = defaultdict(float)
    for loads, sent in moved.values():
        for link, load in loads:
            seconds[link] += sent * load / topology.links[link].bandwidth
    busiest: dict[LinkClass, float] = {}
    for link in sorted(seconds):
        kind = class_of(topology.links[link])
        busiest[kind] = max(busiest.get(kind, 0.0), seconds[link])
    return [kind for kind in sorted(busiest, key=lambda k: -busiest[k]) if busiest[kind]]


def constants(timeline: Timeline, topology: Topology, dtype: str) -> tuple[Constant, ...]:
    """Return the constants that a run depends on: those that are not zero, of links in use.

    Of more than `MOST_CLASSES` classes of links only the busiest count.
    """
    found = [*_of_devices(topology, dtype), *_of_links(timeline, topology)]
    return tuple(constant for constant in found if constant.value)


def _of_devices(topology: Topology, dtype: str) -> Iterator[Constant]:
    device, profile = topology.devices[0], topology.profile
    on = " and ".join(dict.fromkeys(device.name for device in topology.devices))
    launch = device.launch if profile.launch is None else profile.launch
    yield Constant("flop_rate", device.peak(dtype), "flop/s", on, _each_device(_flop_rate))
    yield Constant(
        "memory_bandwidth", device.memory_bandwidth, "B/s", on, _each_device(_memory_bandwidth)
    )
    yield Constant("launch", launch, "s", on, _launch)
    yield Constant("memory", device.memory, "B", on, _each_device(_memory))


def _of_links(timeline: Timeline, topology: Topology) -> Iterator[Constant]:
    classes = used_classes(timeline, topology)[:MOST_CLASSES]
    for number, kind in enumerate(classes):
        alike = [link for link in topology.links if class_of(link) == kind]
        more = f" and {len(alike) - 1} alike" if len(alike) > 1 else ""
        on = f"{alike[0].name}{more}"
        key = f":{number}" if len(classes) > 1 else ""
        yield Constant(
            f"link_bandwidth{key}", kind.bandwidth, "B/s", on, _each_link(kind, "bandwidth")
        )
        yield Constant(f"link_latency{key}", kind.latency, "s", on, _each_link(kind, "latency"))
    calls = max((way.latency for way in topology.profile.protocols), default=0.0)
    yield Constant("call_latency", calls, "s", f"profile {topology.profile.name}", _call_latency)


def _each_device(
    change: Callable[[Device, float], Device],
) -> Callable[[Topology, float], Topology]:
    def scaled(topology: Topology, factor: float) -> Topology:
        new = {device: change(device, factor) for device in dict.fromkeys(topology.devices)}
        return replace(topology, devices=tuple(new[device] for device in topology.devices))

    return scaled


def _flop_rate(device: Device, factor: float) -> Device:
    rates = tuple((dtype, rate * factor) for dtype, rate in device.flop_rate)
    return replace(device, flop_rate=rates)


def _memory_bandwidth(device: Device, factor: float) -> Device:
    return replace(device, memory_bandwidth=device.memory_bandwidth * factor)


def _memory(device: Device, factor: float) -> Device:
    return replace(device, memory=device.memory * factor)


def _launch(topology: Topology, factor: float) -> Topology:
    devices = _each_device(lambda device, by: replace(device, launch=device.launch * by))
    profile, changed = topology.profile, devices(topology, factor)
    if profile.launch is None:
        return changed
    return replace(changed, profile=replace(profile, launch=profile.launch * factor))


def _each_link(kind: LinkClass, name: str) -> Callable[[Topology, float], Topology]:
    def scaled(topology: Topology, factor: float) -> Topology:
        links = tuple(
            replace(link, **{name: getattr(link, name) * factor})
            if class_of(link) == kind
            else link
            for link in topology.links
        )
        return replace(topology, links=links)

    return scaled


def _call_latency(topology: Topology, factor: float) -> Topology:
    profile: Profile = topology.profile
    ways = tuple(replace(way, latency=way.latency * factor) for way in profile.protocols)
    return replace(topology, profile=replace(profile, protocols=ways))
