"""Holds ``disturbances:`` against the hardware, and puts them into it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from tspsim.files.errors import Problem
from tspsim.files.numbers import plain
from tspsim.files.source import KeyPath
from tspsim.scenario.disturbances import DisturbancesKeys
from tspsim.scenario.topologies import Hardware
from tspsim.topology.disturbances import Disturbances
from tspsim.topology.disturbed import directions, missing, pieces, ranges, relinked, slowed
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Pace

#: More failures than this in one job are a slip of the finger, and would take long to play.
MOST_FAILURES = 10_000
#: How many groups of ranks that lost each other a message lists.
_LISTED = 8


def disturbed(hardware: Hardware, keys: DisturbancesKeys) -> tuple[Hardware | None, list[Problem]]:
    """Return the hardware with its disturbances in it, or what is wrong with them.

    The hardware's document stays as it was: the disturbances stand in the scenario's own.
    """
    value, topology = keys.value(), hardware.topology
    problems = [*_device_problems(keys, topology), *_link_problems(keys, topology)]
    problems += _failure_problems(keys, len(topology.devices))
    if problems:
        return None, problems
    paces = {d.device: Pace(d.compute, d.memory, d.launch) for d in value.slow_devices}
    changed = relinked(slowed(topology, paces), value.links)
    problems = list(_separated(value, changed))
    return (None, problems) if problems else (replace(hardware, topology=changed), [])


def _device_problems(keys: DisturbancesKeys, topology: Topology) -> Iterator[Problem]:
    last, seen = len(topology.devices) - 1, set()
    slow = [entry.device for entry in keys.slow_devices]
    failing = [entry.device for entry in keys.failures]
    for name, listed in (("slow_devices", slow), ("failures", failing)):
        for place, device in enumerate(listed):
            path: KeyPath = ("disturbances", name, place, "device")
            if device > last:
                message = f"found {device}; topology '{topology.name}' has devices 0 to {last}"
                yield Problem(path, message)
            elif name == "slow_devices" and device in seen:
                yield Problem(path, f"device {device} is there twice")
            elif name == "slow_devices":
                seen.add(device)


def _link_problems(keys: DisturbancesKeys, topology: Topology) -> Iterator[Problem]:
    seen: set[tuple[str, str]] = set()
    for place, entry in enumerate(keys.links):
        change, path = entry.value(), ("disturbances", "links", place, "link")
        found = missing(topology, change)
        if found:
            yield Problem(path, found)
        elif seen.intersection(directions(change)):
            yield Problem(path, f"link {change.name} is there twice")
        seen.update(directions(change))


def _separated(value: Disturbances, topology: Topology) -> Iterator[Problem]:
    """Yield a problem when lost links leave ranks that do not reach each other."""
    parts = pieces(topology)
    if len(parts) > 1:
        lost = ", ".join(change.name for change in value.links if change.lost)
        groups = [_ranks(part) for part in parts[:_LISTED]]
        groups += [f"{len(parts) - _LISTED} more"] if len(parts) > _LISTED else []
        message = f"without {lost}, {' and '.join(groups)} lose each other: no way there and back"
        yield Problem(("disturbances", "links"), message)


def _ranks(part: Sequence[int]) -> str:
    return f"rank{'s' if len(part) > 1 else ''} {ranges(part)}"


def _failure_problems(keys: DisturbancesKeys, devices: int) -> Iterator[Problem]:
    job = keys.reliability
    if job is None:
        if keys.failures:
            message = "needs disturbances.reliability too: horizon, restart and checkpoint"
            yield Problem(("disturbances", "failures"), message)
        return
    for place, failure in enumerate(keys.failures):
        if failure.at >= job.horizon:
            ends = f"the job ends at its horizon of {plain(job.horizon)} s"
            message = f"found {plain(failure.at)} s; {ends}"
            yield Problem(("disturbances", "failures", place, "at"), message)
    here: KeyPath = ("disturbances", "reliability")
    if job.mtbf is None:
        if not keys.failures:
            message = "nothing ever fails: must have 'mtbf', or disturbances.failures"
            yield Problem(here, message)
        if job.checkpoint.interval is None:
            yield Problem((*here, "checkpoint"), "needs an 'interval' where there is no 'mtbf'")
    elif job.horizon * devices / job.mtbf > MOST_FAILURES:
        count = job.horizon * devices / job.mtbf
        message = f"found {plain(job.mtbf)} s: {devices:,} devices fail {count:,.0f} times"
        yield Problem((*here, "mtbf"), f"{message} in the horizon; at most {MOST_FAILURES:,}")
