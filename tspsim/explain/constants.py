"""The constants of the hardware that a step time rests on, and topologies in which one differs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tspsim.engine.timeline import Timeline
from tspsim.explain.call_latency import call_latency
from tspsim.explain.links import LinkClass, Property, used_classes
from tspsim.program.types import Work
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile

#: Classes of links whose constants are changed; every one takes three simulations.
MOST_CLASSES = 4


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """One constant of the hardware.

    Parameters
    ----------
    key : str
        ``flop_rate``, ``memory_bandwidth``, ``launch``, ``host``, ``memory``; ``link_bandwidth``
        and ``link_latency`` inside a node, ``network_bandwidth`` and ``network_latency`` between
        nodes, each with the number of the class behind a colon where there are several;
        ``call_latency`` of the profile.
    value : float
        Of the first device or link, in SI units; of the calls that were made, the mean.
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


def constants(timeline: Timeline, topology: Topology, dtype: str) -> tuple[Constant, ...]:
    """Return the constants that a run depends on: those that are not zero, of links in use.

    Of more than `MOST_CLASSES` classes of links in bandwidth, or in latency, the busiest count.
    """
    found = [
        *_of_devices(topology, dtype),
        _of_host(timeline, topology),
        *_of_links(timeline, topology),
    ]
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


def _of_host(timeline: Timeline, topology: Topology) -> Constant:
    """Return the time in which the host issues the forward of a layer."""
    works = (op.work for program in timeline.programs.roles for op in program.ops)
    issues = (work.seconds for work in works if isinstance(work, Work) and work.seconds)
    host = topology.devices[0].name
    return Constant("host", min(issues, default=0.0), "s", host, _each_device(_host))


def _of_links(timeline: Timeline, topology: Topology) -> Iterator[Constant]:
    units: dict[Property, str] = {"bandwidth": "B/s", "latency": "s"}
    for what, unit in units.items():
        classes = [kind for kind in used_classes(timeline, topology, what) if kind.value]
        keys = [f"{'network' if kind.network else 'link'}_{what}" for kind in classes]
        for number, (key, kind) in enumerate(zip(keys, classes, strict=True)):
            if number < MOST_CLASSES:
                numbered = f"{key}:{keys[:number].count(key)}" if keys.count(key) > 1 else key
                yield Constant(numbered, kind.value, unit, kind.named(topology), _each_link(kind))
    on = f"profile {topology.profile.name}"
    yield Constant("call_latency", call_latency(timeline, topology), "s", on, _call_latency)


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


def _host(device: Device, factor: float) -> Device:
    return replace(device, pace=replace(device.pace, host=device.pace.host / factor))


def _launch(topology: Topology, factor: float) -> Topology:
    devices = _each_device(lambda device, by: replace(device, launch=device.launch * by))
    profile, changed = topology.profile, devices(topology, factor)
    if profile.launch is None:
        return changed
    return replace(changed, profile=replace(profile, launch=profile.launch * factor))


def _each_link(kind: LinkClass) -> Callable[[Topology, float], Topology]:
    def changed(link: Link, factor: float) -> Link:
        if kind.what == "bandwidth":
            return replace(link, bandwidth=link.bandwidth * factor)
        return replace(link, latency=link.latency * factor)

    def scaled(topology: Topology, factor: float) -> Topology:
        links = topology.links
        return replace(
            topology,
            links=tuple(changed(link, factor) if kind.has(link) else link for link in links),
        )

    return scaled


def _call_latency(topology: Topology, factor: float) -> Topology:
    profile: Profile = topology.profile
    ways = tuple(
        replace(way, latency=way.latency * factor, per_member=way.per_member * factor)
        for way in profile.protocols
    )
    return replace(topology, profile=replace(profile, protocols=ways))
