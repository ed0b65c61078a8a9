"""A topology whose switches all add up, or none: whether a library may reduce in the switch."""

from __future__ import annotations

from dataclasses import replace

from tspsim.topology.graph import Topology


def adding_up(topology: Topology, switches: bool = True) -> Topology:
    """Return a topology whose switches all add up what passes through them, or whose none does."""
    vertices = {link.source for link in topology.links if switches}
    devices = {f"d{i}" for i in range(len(topology.devices))}
    return replace(topology, reducing=frozenset(vertices - devices))
