"""The hardware that published steps were run on, and what of a topology is other than that."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.topology.graph import Topology


class Machine(NamedTuple):
    """Hardware as published steps are simulated on it.

    Attributes
    ----------
    flop_rate, memory_bandwidth : float
        Of a device: flop/s of bf16, bytes/s.
    link, network : float
        Bytes/s of links to a node's switch, and of those that leave it, one way.
    """

    flop_rate: float
    memory_bandwidth: float
    link: float
    network: float


#: Of `published/steps`, by device.
COMPARED = {
    "a100-sxm-80gb": Machine(312e12, 2039e9, 300e9, 6.25e9),
    "h100-sxm": Machine(989e12, 3350e9, 450e9, 50e9),
}


def others(topology: Topology, ranks: int) -> tuple[str, ...]:
    """Return what of a topology no published step was run on: ``devices``, ``links``.

    Parameters
    ----------
    topology : Topology
    ranks : int
        Devices that take part: of one no link counts, of one node no network.
    """
    devices = topology.devices[:ranks]
    same = all(_is_known(topology, rank) for rank in range(len(devices)))
    machine = COMPARED.get(devices[0].name)
    linked = ranks == 1 or (machine is not None and _links_are_of(machine, topology, ranks))
    return (*(() if same else ("devices",)), *(() if linked else ("links",)))


def _is_known(topology: Topology, rank: int) -> bool:
    """Return whether a device states what one of that name did."""
    device = topology.devices[rank]
    machine = COMPARED.get(device.name)
    stated = dict(device.flop_rate).get("bf16"), device.memory_bandwidth
    return machine is not None and stated == machine[:2]


def _links_are_of(machine: Machine, topology: Topology, ranks: int) -> bool:
    """Return whether devices are on a node's switch, and nodes are joined, as those were."""
    vertices = {f"d{rank}" for rank in range(len(topology.devices))}
    several = len({topology.node(rank) for rank in range(ranks)}) > 1
    inside = [link for link in topology.links if not link.network]
    outside = [link.bandwidth for link in topology.links if link.network]
    return all(
        link.bandwidth == machine.link and not {link.source, link.target} <= vertices
        for link in inside
    ) and (not several or min(outside, default=0.0) == machine.network)
