"""Reads ``topology:``, ``timing:`` and ``memory:`` into the hardware that a scenario runs on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel, ValidationError

from tspsim.files import faults
from tspsim.files.errors import Problem, TopologyError, UnknownNameError, did_you_mean
from tspsim.files.source import KeyPath
from tspsim.registry import COLLECTIVES, TOPOLOGIES
from tspsim.topology.fabric import Fabric
from tspsim.topology.forms import ProfileForm
from tspsim.topology.graph import Topology
from tspsim.topology.load import build, document, parse, parse_profile


@dataclass(frozen=True, slots=True)
class Hardware:
    """A built topology, and the keys that make it again.

    Parameters
    ----------
    topology : Topology
    document : Mapping
        ``topology:`` with every file written out.
    """

    topology: Topology
    document: Mapping[str, Any]

    def with_memory(self, held: Mapping[str, Any]) -> Hardware:
        """Return the hardware with so many bytes held on every device, by what for."""
        distinct = {d: replace(d, **held) for d in set(self.topology.devices)}
        devices = tuple(distinct[device] for device in self.topology.devices)
        return replace(self, topology=replace(self.topology, devices=devices))

    def with_pace(self, pace: float) -> Hardware:
        """Return the hardware with devices that reach a fraction of their speed in kernels."""
        distinct = {d: replace(d, pace=d.pace.times(pace)) for d in set(self.topology.devices)}
        devices = tuple(distinct[device] for device in self.topology.devices)
        return replace(self, topology=replace(self.topology, devices=devices))

    def with_serving(self) -> Hardware:
        """Return the hardware whose programs call the all-reduces of serving libraries."""
        profile = replace(self.topology.profile, serving=True)
        return replace(self, topology=replace(self.topology, profile=profile))

    def with_launch(self, launch: float) -> Hardware:
        """Return the hardware with so many seconds of every kernel beside its work."""
        profile = replace(self.topology.profile, launch=launch)
        return replace(self, topology=replace(self.topology, profile=profile))

    def with_replays(self, smallest: float) -> Hardware:
        """Return the hardware whose kernels are replayed, the smallest in that time."""
        profile = replace(self.topology.profile, replayed=smallest)
        return replace(self, topology=replace(self.topology, profile=profile))


def read_hardware(
    data: Mapping[str, Any], profile: Mapping[str, Any] | None
) -> tuple[Hardware | None, list[Problem]]:
    """Return the hardware of expanded keys, or what is wrong with them.

    Parameters
    ----------
    data : Mapping
        ``topology:`` with every named file read in.
    profile : Mapping, optional
        ``timing.profile`` likewise; the device's own when not given.
    """
    form, problems = _read_fabric(data, ("topology",))
    timing, more = _read_profile(profile)
    if form is None or more:
        return None, problems + more
    unknown = list(_unknown_algorithms(form, timing, data))
    if unknown:
        return None, unknown
    try:
        topology = build(form, timing)
    except ValidationError as error:
        return None, faults.problems(error, type(form), data, ("topology",))
    except TopologyError as error:
        return None, [Problem(("topology",), str(error))]
    return Hardware(topology, document(form)), []


def _read_fabric(data: Mapping[str, Any], path: KeyPath) -> tuple[Fabric | None, list[Problem]]:
    if not isinstance(data, Mapping):
        return None, [Problem(path, f"{faults.found(data)}; must be a mapping of keys")]
    # A node is read on its own first: its mistakes then have their own places.
    if "node" in data:
        inner = _read_fabric(data["node"], (*path, "node"))[1]
        if inner:
            return None, inner
    try:
        return parse(data), []
    except ValidationError as error:
        return None, faults.problems(error, _spec(data), data, path)


def _spec(data: Mapping[str, Any]) -> type[BaseModel]:
    try:
        spec: type[BaseModel] = TOPOLOGIES.get(str(data.get("kind")))
    except UnknownNameError:
        return Fabric
    return spec


def _unknown_algorithms(
    form: Fabric, timing: ProfileForm | None, data: Mapping[str, Any]
) -> Iterator[Problem]:
    """Yield a problem for every name in the profile that is used and that no algorithm has."""
    path: KeyPath = ("timing", "profile") if timing else _own_profile(data)
    profile = timing or next((device.profile for device in form.device_forms()), None)
    known = COLLECTIVES.names()
    for place, name in _algorithms(profile) if profile else ():
        if name not in known:
            guess = did_you_mean(name, known)
            yield Problem((*path, *place), f"found '{name}'{guess}; known: {', '.join(known)}")


def _algorithms(profile: ProfileForm) -> Iterator[tuple[KeyPath, str]]:
    """Yield the algorithms that a profile names, each with its place in it."""
    for number, way in enumerate(profile.protocols):
        if way.algorithm is not None:
            yield ("protocols", number, "algorithm"), way.algorithm
    for kind, name in profile.collectives.items():
        yield ("collectives", kind), name


def _own_profile(data: Mapping[str, Any]) -> KeyPath:
    """Return where the profile of a fabric's devices stands: a node may lie around them."""
    path: KeyPath = ("topology",)
    while "node" in data:
        path, data = (*path, "node"), data["node"]
    return (*path, "device", "profile")


def _read_profile(
    data: Mapping[str, Any] | None,
) -> tuple[ProfileForm | None, list[Problem]]:
    if data is None:
        return None, []
    try:
        return parse_profile(data), []
    except ValidationError as error:
        return None, faults.problems(error, ProfileForm, data, ("timing", "profile"))
