"""Where the vertices of a fabric stand on a drawing, and which part of a large one is drawn."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from tspsim.topology.graph import Link, Topology

#: More nodes than this are drawn as the first one and a box for each.
NODES = 4
#: A torus of three dims with more devices than this is drawn as its first plane.
CUBE = 100
#: Between nodes that stand side by side.
PITCH = 3.2

Point = tuple[float, float]


@dataclass
class Drawing:
    """Places by vertex, the boxes round nodes, and how devices are named.

    Parameters
    ----------
    places : dict
    bars : dict
        Rail switches, drawn as a line: left end, right end, height.
    boxes : list of (x, y, width, height, text)
    note : str
        What of the fabric is not drawn; empty: nothing.
    size : (float, float)
        Inches of a new figure.
    """

    places: dict[str, Point] = field(default_factory=dict)
    bars: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    boxes: list[tuple[float, float, float, float, str]] = field(default_factory=list)
    note: str = ""
    size: Point = (8.0, 6.0)

    def shown(self, links: tuple[Link, ...]) -> Iterator[Link]:
        """Yield the links whose ends are both on the drawing."""
        for link in links:
            if {link.source, link.target} <= self.places.keys() | self.bars.keys():
                yield link


def drawing_of(topology: Topology) -> Drawing:
    """Return the drawing of a topology."""
    if any(topology.node_of):
        return _cluster(topology)
    if topology.grid:
        return _grid(topology)
    return _round(topology)


def _circle(names: list[str], centre: Point, radius: float) -> dict[str, Point]:
    """Return places on a circle, the first at the top, clockwise."""
    angles = (math.pi / 2 - 2 * math.pi * i / len(names) for i in range(len(names)))
    places = ((centre[0] + radius * math.cos(a), centre[1] + radius * math.sin(a)) for a in angles)
    return dict(zip(names, places, strict=True))


def _round(topology: Topology) -> Drawing:
    """Devices on a circle, switches inside it."""
    devices = [f"d{i}" for i in range(len(topology.devices))]
    others = _others(topology)
    places = _circle(devices, (0, 0), 1.0)
    places |= {others[0]: (0.0, 0.0)} if len(others) == 1 else _circle(others, (0, 0), 0.4)
    size = 7.0 if len(devices) <= 16 else 9.0
    return Drawing(places, size=(size + 1, size))


def _others(topology: Topology) -> list[str]:
    """Return the vertices that are no devices, in order of the links."""
    ends = (name for link in topology.links for name in (link.source, link.target))
    return [name for name in dict.fromkeys(ends) if not re.fullmatch(r"d\d+", name)]


def _grid(topology: Topology) -> Drawing:
    """Rows and columns; a third dim goes back into the page."""
    shape = (1,) * (3 - len(topology.grid)) + topology.grid
    flat = shape[0] == 1 or math.prod(shape) > CUBE
    note = ""
    if flat and shape[0] > 1:
        note = f"the first of {shape[0]} planes of {shape[1]} x {shape[2]}"
    places = {}
    for i in range(math.prod(shape[1:]) if flat else math.prod(shape)):
        plane, row, column = i // (shape[1] * shape[2]), i // shape[2] % shape[1], i % shape[2]
        # planes are drawn one behind the other: up and to the right by less than half a step
        places[f"d{i}"] = (column * 1.6 + plane * 0.37, -row * 1.6 + plane * 0.37)
    edge = 2.0 + 0.55 * max(shape[1:]) * (1.0 if flat else 2.6)
    return Drawing(places, note=note, size=(min(edge + 1.5, 14.0), min(edge, 13.0)))


def _cluster(topology: Topology) -> Drawing:
    """Nodes side by side, each a bowl of devices over its NICs; the network below."""
    members = defaultdict(list)
    for device, node in enumerate(topology.node_of):
        members[node].append(f"d{device}")
    shown = len(members) if len(members) <= NODES and len(topology.devices) <= 72 else 1
    layout = Drawing(size=(max(3.1 * shown + 1.6, 7.0), 6.0))
    if shown < len(members):
        layout.note = f"node 0 of {len(members)} in full, the others as boxes"
        layout.size = (13.0, 6.0)
    nics = _nics(topology)
    for node in range(shown):
        _node(layout, topology, node, members[node], nics)
    _network(layout, topology, shown)
    if layout.note:
        _boxes(layout, len(members))
    return layout


def _nics(topology: Topology) -> dict[str, str]:
    """Return the NIC of every device that has one."""
    return {
        link.source: link.target
        for link in topology.links
        if link.network and re.fullmatch(r"nic\d+", link.target) and link.source[0] == "d"
    }


def _node(
    layout: Drawing, topology: Topology, node: int, members: list[str], nics: dict[str, str]
) -> None:
    middle = node * PITCH
    for place, device in enumerate(members):
        # in a bowl links inside the node cross nothing but each other, NICs hang straight below
        x = 2.4 * (place + 0.5) / len(members) - 1.2
        layout.places[device] = (middle + x, 0.75 * x * x - 0.6)
    inside = [name for name in _others(topology) if name.startswith(f"node{node}.")]
    layout.places |= _circle(inside, (middle, 0.75), 0.0 if len(inside) == 1 else 0.3)
    above = defaultdict(list)
    for name in members:
        if name in nics:
            above[nics[name]].append(layout.places[name][0])
    layout.places |= {nic: (sum(xs) / len(xs), -1.2) for nic, xs in above.items()}
    layout.boxes.append((middle - 1.4, -1.45, 2.8, 2.75, f"node {node}"))


def _network(layout: Drawing, topology: Topology, shown: int) -> None:
    """Rails as lines from side to side; leaves and routers under their nodes; the spine below."""
    right = (shown - 1) * PITCH + 1.4
    switches = [
        name for name in _others(topology) if re.fullmatch(r"(rail|leaf|router)\d+|spine", name)
    ]
    rails = [name for name in switches if name.startswith("rail")]
    for number, name in enumerate(rails):
        layout.bars[name] = (-1.4, right, -1.8 - 0.22 * number)
    reached: dict[str, list[float]] = defaultdict(list)
    for link in topology.links:
        if link.source in layout.places and link.target in switches and "nic" in link.source:
            reached[link.target].append(layout.places[link.source][0])
    for name in switches:
        if name not in layout.bars and name in reached:
            layout.places[name] = (sum(reached[name]) / len(reached[name]), -2.1)
    if "spine" in switches:
        below = -1.7 - 0.11 * len(rails) if rails else -3.0
        layout.places["spine"] = (right + 0.7 if rails else (right - 1.4) / 2, below)


def _boxes(layout: Drawing, nodes: int) -> None:
    """Put the other nodes as boxes, row by row, to the right."""
    columns = max(math.ceil(math.sqrt(1.6 * nodes)), 1)
    rows = math.ceil(nodes / columns)
    width, height = 7.2 / columns, min(3.9 / rows, 7.2 / columns)
    for node in range(nodes):
        row, column = divmod(node, columns)
        x, y = 2.4 + column * width, 1.3 - (row + 1) * height
        layout.boxes.append((x, y, 0.88 * width, 0.84 * height, str(node)))
