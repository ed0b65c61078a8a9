"""Topology plot: the fabric, and how much every link of it is used."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, LinearSegmentedColormap, Normalize
from matplotlib.patches import Rectangle

from tspsim.output.fabric_layout import Drawing, drawing_of
from tspsim.output.plots.links import Use, uses
from tspsim.output.plots.paper import asked
from tspsim.output.plots.style import DARK, GREY, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.topology.graph import Link, Topology

if TYPE_CHECKING:
    from tspsim.result import Result

#: The two directions of a connection are drawn side by side, this far from its middle line.
ASIDE = 0.018
#: A link that goes round the edge of a torus is drawn as two stubs of this length.
STUB = 0.45
#: Arrowheads are drawn where there are no more vertices than this: how far along a line, how large
#: in points.
ARROWS, ALONG, HEAD = 10, 0.8, 7.0
#: Devices beyond this many are dots without a name.
NAMED = 80


def plot(result: Result, ax: Axes | None = None) -> Axes:
    """Draw devices, switches and NICs, every link in the colour of its load.

    The load of a link is the bytes that it carried over what it could have carried in the step.
    Every direction is a line of its own, on the right-hand side of who travels along it.
    """
    topology = result.scenario.topology
    drawing = drawing_of(topology)
    found = uses(result.timeline, topology.links)
    ax = axes(ax, *drawing.size)
    most = max((use.used for use in found), default=0.0)
    norm = Normalize(0, 100 * most or 1)
    _boxes(ax, drawing, found, topology, norm)
    _links(ax, topology, drawing, found, norm)
    _vertices(ax, result, drawing)
    ax.set_aspect("equal")
    ax.set_axis_off()
    ax.autoscale_view()
    ax.margins(0.04 if asked() is None else 0.08)
    bar = ScalarMappable(norm, _colours())
    label = "bytes, as a share of what\nthe link could carry in the step [%]"
    shades = ax.figure.colorbar(bar, ax=ax, shrink=0.75, pad=0.02, label=label)
    plain_ticks(shades.ax.yaxis)
    set_title(ax, titled(result, _title(result, drawing)))
    return ax


def _title(result: Result, drawing: Drawing) -> str:
    """Return what is drawn, and what stands in a disc."""
    topology = result.scenario.topology
    more = []
    if _few(drawing):
        more.append("an arrowhead shows which way a line goes")
    axes_ = [name for name, degree in result.timeline.mesh.axes if degree > 1]
    if sum(name[0] == "d" for name in drawing.places) <= NAMED:
        inside = f"the rank and its {', '.join(axes_)}" if len(axes_) > 1 else "the rank"
        more.append(f"in a disc: {inside}")
    if topology.grid:
        more.append("a stub goes round the edge")
    told = "; ".join([f"load of every link of {topology.name}", *more])
    return f"{told}\ndrawn: {drawing.note}" if drawing.note else told


def _few(drawing: Drawing) -> bool:
    """Say whether there is room for an arrowhead on every line."""
    return len(drawing.places) <= ARROWS and not drawing.boxes


@cache
def _colours() -> Colormap:
    """Return a map whose low end can still be seen on white."""
    return LinearSegmentedColormap.from_list(
        "load", colormaps["plasma_r"](np.linspace(0.12, 1.0, 64))
    )


def _by_node(topology: Topology, found: list[Use]) -> dict[str, tuple[float, float]]:
    """Return by node the highest load in percent inside of it, and of its NICs."""
    nodes = {f"d{i}": str(topology.node(i)) for i in range(len(topology.devices))}
    devices = dict(nodes)  # what a device is joined to directly is its own NIC
    for use in found:
        if use.link.network and use.link.source in devices:
            nodes.setdefault(use.link.target, devices[use.link.source])
    loads: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for use in found:
        for name in (use.link.source, use.link.target):
            if node := nodes.get(name):
                which = int(use.link.network)
                loads[node][which] = max(loads[node][which], 100 * use.used)
    return {node: (inside, outside) for node, (inside, outside) in loads.items()}


def _busiest_trunk(found: list[Use]) -> str:
    """Return what to say of the links between switches; nothing where there are none."""
    trunks = [use for use in found if not re.search(r"\b(d|nic)\d+\b", use.link.name)]
    if not trunks:
        return ""
    most = max(trunks, key=lambda use: use.used)
    return f"\nthe busiest link between switches: {most.link.name}, {100 * most.used:.0f} %"


def _boxes(
    ax: Axes, drawing: Drawing, found: list[Use], topology: Topology, norm: Normalize
) -> None:
    """Draw a frame round a node in full; any other node as a box of its two loads."""
    loads = _by_node(topology, found)
    for x, y, width, height, text in drawing.boxes:
        if text.startswith("node"):
            ax.add_patch(Rectangle((x, y), width, height, fill=False, ec=GREY, lw=1))
            ax.text(x + 0.06, y + height - 0.05, text, fontsize=8, va="top", color=DARK)
            continue
        _halves(ax, (x, y, width, height), loads.get(text, (0.0, 0.0)), norm)
        dark = norm(loads.get(text, (0.0, 0.0))[0]) > 0.55
        ax.text(
            x + width / 2, y + 0.65 * height, text, ha="center", va="center",
            fontsize=min(9.0, 11 * width), color="white" if dark else "black",
        )  # fmt: skip
    others = [box for box in drawing.boxes if not box[4].startswith("node")]
    if others:
        x, bottom = others[0][0], min(box[1] for box in others)
        ax.text(
            x, bottom - 0.12, "upper part of a box: the busiest link inside the node\n"
            "lower part: the busiest of its NICs" + _busiest_trunk(found),
            fontsize=9, va="top", color=DARK,
        )  # fmt: skip


def _halves(
    ax: Axes, box: tuple[float, float, float, float], loads: tuple[float, float], norm: Normalize
) -> None:
    """Fill the upper part of a box by the first load and the lower part by the second."""
    x, y, width, height = box
    for bottom, part, load in ((0.3, 0.7, loads[0]), (0.0, 0.3, loads[1])):
        face = _colours()(norm(load)) if load else "white"
        corner = (x, y + bottom * height)
        ax.add_patch(Rectangle(corner, width, part * height, fc=face, ec=GREY, lw=0.5))


def _links(
    ax: Axes, topology: Topology, drawing: Drawing, found: list[Use], norm: Normalize
) -> None:
    """Draw every direction as a line: grey where nothing goes, thicker where much does."""
    lines, faces, widths, colours = [], [], [], _colours()
    thin = 1.0 if len(drawing.places) <= 2 * NAMED else 0.5
    few = _few(drawing)
    for link in drawing.shown(topology.links):
        used = found[link.index].used
        if few and used:
            _arrowhead(ax, drawing, link, bool(topology.grid), colours(norm(100 * used)))
        for line in _line(drawing, link.source, link.target, bool(topology.grid)):
            lines.append(line)
            faces.append(colours(norm(100 * used)) if used else "#DDDDDD")
            widths.append(thin * (0.7 if not used else 1.2 + 1.2 * float(norm(100 * used))))
    order = np.argsort(widths, kind="stable")
    ax.add_collection(
        LineCollection(
            [lines[i] for i in order], colors=[faces[i] for i in order],
            linewidths=[widths[i] for i in order], zorder=1,
        )
    )  # fmt: skip
    for name, (left, right, y) in drawing.bars.items():
        ax.plot([left, right], [y, y], color=GREY, lw=3, zorder=0, solid_capstyle="butt")
        ax.text(left - 0.06, y, name, ha="right", va="center", fontsize=7, color=DARK)


def _arrowhead(ax: Axes, drawing: Drawing, link: Link, grid: bool, face: tuple[float, ...]) -> None:
    """Draw which way a line goes, close to its end, where no other line crosses it."""
    for (x0, y0), (x1, y1) in _line(drawing, link.source, link.target, grid):
        turn = math.degrees(math.atan2(y1 - y0, x1 - x0)) - 90
        place = x0 + ALONG * (x1 - x0), y0 + ALONG * (y1 - y0)
        ax.plot(*place, marker=(3, 0, turn), ms=HEAD, color=face, mec="white", mew=0.5, zorder=2)


def _line(
    drawing: Drawing, source: str, target: str, grid: bool
) -> list[list[tuple[float, float]]]:
    """Return the line of one direction; a link round the edge of a torus as a stub."""
    (x0, y0), (x1, y1) = _ends(drawing, source, target)
    dx, dy = x1 - x0, y1 - y0
    length = float(np.hypot(dx, dy)) or 1.0
    aside = 2 * ASIDE if grid else ASIDE
    right = (aside * dy / length, -aside * dx / length)
    round_the_edge = length > 2.0 or (abs(dx - dy) < 1e-9 and length > 0.6)
    if grid and round_the_edge:
        # it leaves on one side of the drawing and comes in on the other
        step = (STUB * dx / length, STUB * dy / length)
        ends = ((x0, y0), (x0 - step[0], y0 - step[1])), ((x1 + step[0], y1 + step[1]), (x1, y1))
        return [[(x - right[0], y - right[1]) for x, y in stub] for stub in ends]
    return [[(x0 + right[0], y0 + right[1]), (x1 + right[0], y1 + right[1])]]


def _ends(drawing: Drawing, source: str, target: str) -> tuple[tuple[float, float], ...]:
    """Return where a link begins and ends; at a rail, straight above or below the other end."""
    places, bars = drawing.places, drawing.bars
    if source in bars and target in bars:
        return (bars[source][1], bars[source][2]), (bars[target][1], bars[target][2])
    if source in bars or target in bars:
        bar, other = (source, target) if source in bars else (target, source)
        left, right, y = bars[bar]
        on_bar = (min(max(places[other][0], left), right), y)
        return (on_bar, places[other]) if source in bars else (places[other], on_bar)
    return places[source], places[target]


def _vertices(ax: Axes, result: Result, drawing: Drawing) -> None:
    """Draw devices as discs with their rank's coordinates, switches and NICs as boxes."""
    devices = [name for name in drawing.places if re.fullmatch(r"d\d+", name)]
    named = len(devices) <= NAMED
    crowded = any(drawing.boxes) and len(devices) > 8 * len({*map(_frame, drawing.boxes)} - {""})
    size = 420 if len(devices) <= 16 and not drawing.boxes else 180 if named else 14
    size = 80 if crowded and named else size
    points = np.array([drawing.places[name] for name in devices])
    ax.scatter(
        points[:, 0], points[:, 1], s=size, c="white", edgecolors=DARK, zorder=3, clip_on=False
    )
    for name in devices if named else ():
        ax.text(
            *drawing.places[name], _rank(result, int(name[1:])), ha="center", va="center",
            fontsize={420: 8.0, 180: 5.5}.get(size, 4.5), zorder=4, linespacing=0.9,
        )  # fmt: skip
    for name, (x, y) in drawing.places.items():
        if name not in devices:
            short = re.sub(r"^node\d+\.", "", name)
            ax.text(
                x, y, "" if crowded and "nic" in short else short.replace("nic", ""),
                ha="center", va="center", fontsize=5.5 if "nic" in short else 7, zorder=4,
                bbox={"boxstyle": "square,pad=0.3", "fc": "#EEEEEE", "ec": DARK, "lw": 0.7},
            )  # fmt: skip


def _frame(box: tuple[float, float, float, float, str]) -> str:
    return box[4] if box[4].startswith("node") else ""


def _rank(result: Result, device: int) -> str:
    """Return the rank on a device, and its coordinates where the mesh has several axes."""
    mesh = result.timeline.mesh
    if device >= mesh.ranks:
        return "-"
    axes_ = [name for name, degree in mesh.axes if degree > 1]
    if len(axes_) < 2:
        return str(device)
    return f"{device}\n{','.join(str(mesh.coordinate(device, name)) for name in axes_)}"
