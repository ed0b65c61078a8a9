"""Where each axis of the mesh lies: on which devices, inside one node or across nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from tspsim.mesh import Mesh
from tspsim.topology.graph import Topology

#: A communicator's devices are listed up to this many.
LISTED = 2


def placed(mesh: Mesh, topology: Topology) -> list[dict[str, Any]]:
    """Return where every axis lies, innermost first, as JSON-able mappings.

    ``stride`` is the distance of neighbours on the axis, counted in devices; ``devices`` are those
    of rank 0's communicator; ``nodes`` the fewest and the most nodes that a communicator of the
    axis reaches.
    """
    return [
        {
            "axis": axis,
            "degree": degree,
            "stride": mesh.stride(axis),
            "devices": list(mesh.group(0, axis)),
            "nodes": _nodes(mesh, axis, topology),
        }
        for axis, degree in reversed(mesh.axes)
    ]


def _nodes(mesh: Mesh, axis: str, topology: Topology) -> list[int]:
    first = (rank for rank in range(mesh.ranks) if mesh.coordinate(rank, axis) == 0)
    reached = [len({topology.node(r) for r in mesh.group(rank, axis)}) for rank in first]
    return [min(reached), max(reached)]


def rows(found: Iterable[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Return a line of words per axis: ``8 neighbours inside one node (d0..d7)``."""
    return [(entry["axis"], _words(entry)) for entry in found]


def _words(entry: Mapping[str, Any]) -> str:
    degree, stride, devices = entry["degree"], entry["stride"], entry["devices"]
    if degree == 1:
        return "1 rank"
    where = _where(degree, *entry["nodes"])
    if stride == 1:
        return f"{degree} neighbours {where} (d{devices[0]}..d{devices[-1]})"
    listed = ", ".join(f"d{device}" for device in devices[:LISTED])
    more = ", ..." if degree > LISTED else ""
    return f"{degree} {where}, stride {stride} ({listed}{more})"


def _where(degree: int, fewest: int, most: int) -> str:
    if most == 1:
        return "inside one node"
    if fewest == most == degree:
        return "across as many nodes"
    return f"across {most} nodes" if fewest == most else f"across {fewest} to {most} nodes"
