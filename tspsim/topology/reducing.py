"""A topology whose switches all add up: what a library may use that reduces in the switch."""

from __future__ import annotations

from dataclasses import replace

from tspsim.topology.graph import Topology


def adding_up(topology: Topology) -> Topology:
    """Return a topology whose switches all add up what passes through them."""
    vertices = {link.source for link in topology.links}
    devices = {f"d{i}" for i in range(len(topology.devices))}
    return replace(topology, reducing=frozenset(vertices - devices))
