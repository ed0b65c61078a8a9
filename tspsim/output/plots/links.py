"""Links plot: how busy every link is, and how much it carries."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline, Transfer
from tspsim.output.plots.style import DARK, GREY, SKY, axes
from tspsim.output.units import size
from tspsim.topology.graph import Link, Topology

if TYPE_CHECKING:
    from tspsim.result import Result

#: More links than this stand in a matrix of sender and receiver.
BARS = 32
#: Of more links than this, only those of one node are drawn; of more devices, those of one.
MANY, MOST_DEVICES = 2_000, 72


class Use(NamedTuple):
    """What one link did during the step.

    Attributes
    ----------
    link : Link
    busy : float
        Fraction of the step in which it carried something.
    used : float
        Bytes carried, as a fraction of what it could have carried in the whole step.
    bytes : float
    """

    link: Link
    busy: float
    used: float
    bytes: float


def plot(result: Result, ax: Axes | None = None) -> Axes:
    """Draw for every link the share of the step in which it is busy, and its bytes.

    Bars for few links, a matrix of sender and receiver for many.
    """
    topology = result.scenario.topology
    found = uses(result.timeline, topology.links)
    title = f"{result.scenario.name}: busy share of the step, by link"
    if len(found) > MANY:
        found = _of_first_node(found, topology)
        title += "; those of node 0 and its NICs"
    ax = _bars(found, ax) if len(found) <= BARS else _matrix(found, ax)
    ax.set_title(title, loc="left", fontsize=10)
    return ax


def _of_first_node(found: list[Use], topology: Topology) -> list[Use]:
    """Return the links that begin or end at device 0's node, or next to it."""
    inside = {f"d{i}" for i in range(len(topology.devices)) if topology.node(i) == topology.node(0)}
    if len(inside) > MOST_DEVICES:
        inside = {"d0"}
    near = {use.link.target for use in found if use.link.source in inside}
    near |= inside
    return [use for use in found if use.link.source in near and use.link.target in near]


def uses(timeline: Timeline, links: tuple[Link, ...]) -> list[Use]:
    """Return the use of every link of a topology, in order."""
    flows: dict[_Way, list[Transfer]] = defaultdict(list)
    for transfer in timeline.recorded:
        way = _Way(transfer.ranks, transfer.loads, transfer.hop)
        flows[way].append(transfer)
    carried: dict[int, float] = defaultdict(float)
    crossing: dict[int, list[_Way]] = defaultdict(list)  # flows, or images of them, by link
    for way, transfers in flows.items():
        sent = sum(transfer.bytes for transfer in transfers)
        for link, load in _everywhere(timeline, way):
            carried[link] += load * sent
            crossing[link].append(way)
    step, busy = timeline.step_time or 1.0, _Busy(flows)
    return [
        Use(
            link,
            busy.seconds(crossing[link.index]) / step,
            carried[link.index] / (link.bandwidth * step),
            carried[link.index],
        )
        for link in links
    ]


class _Way(NamedTuple):
    """What transfers have in common that go the same way."""

    ranks: tuple[int, ...]
    loads: tuple[tuple[int, float], ...]
    hop: bool


def _everywhere(timeline: Timeline, way: _Way) -> Iterator[tuple[int, float]]:
    """Yield the links of a flow and of all that it stands for, and their loads."""
    if timeline.fold is None:
        yield from way.loads
        return
    for _, loads in timeline.fold.everywhere(way.ranks, way.loads, hop=way.hop):
        yield from loads


class _Busy:
    """How long some flows keep a link busy; many links have the same flows."""

    def __init__(self, flows: Mapping[_Way, list[Transfer]]) -> None:
        self._flows = flows
        self._known: dict[frozenset[int], float] = {}

    def seconds(self, ways: list[_Way]) -> float:
        key = frozenset(map(id, ways))
        if key not in self._known:
            times = [(t.start, t.end) for way in ways for t in self._flows[way]]
            self._known[key] = _covered(sorted(times))
        return self._known[key]


def _covered(intervals: list[tuple[float, float]]) -> float:
    """Return the length of the union of intervals that are ordered by start."""
    total, reached = 0.0, 0.0
    for start, end in intervals:
        if end > reached:
            total += end - max(start, reached)
            reached = end
    return total


def _bars(found: list[Use], ax: Axes | None) -> Axes:
    ax = axes(ax, 8.0, 1.0 + 0.24 * max(len(found), 3))
    places = np.arange(len(found))
    ax.barh(places, [100 * use.busy for use in found], color=SKY, label="busy")
    ax.barh(
        places, [100 * use.used for use in found], height=0.3, color=DARK,
        label="bytes, as a share of what it could carry",
    )  # fmt: skip
    for place, use in zip(places, found, strict=True):
        ax.annotate(
            size(use.bytes), (100 * max(use.busy, use.used), place), (4, 0),
            textcoords="offset points", va="center", fontsize=7,
        )  # fmt: skip
    ax.set_yticks(places, [use.link.name for use in found], fontsize=8)
    ax.invert_yaxis()
    ax.set_xlim(0, 112)
    ax.set_xticks(range(0, 101, 20))
    ax.set_xlabel("share of the step [%]")
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    return ax


def _matrix(found: list[Use], ax: Axes | None) -> Axes:
    sources = sorted({use.link.source for use in found}, key=_natural)
    targets = sorted({use.link.target for use in found}, key=_natural)
    cells = np.full((len(sources), len(targets)), np.nan)
    amounts = np.zeros_like(cells)
    for use in found:
        place = sources.index(use.link.source), targets.index(use.link.target)
        cells[place], amounts[place] = 100 * use.busy, use.bytes
    edge = 2.5 + 0.55 * max(len(sources), len(targets))
    ax = axes(ax, edge + 1.2, edge)
    ax.set_facecolor(GREY)
    image = ax.imshow(cells, cmap="Blues", vmin=0, vmax=100)
    ax.figure.colorbar(image, ax=ax, label="busy share of the step [%]", shrink=0.8)
    ax.set_xticks(range(len(targets)), targets, fontsize=8)
    ax.set_yticks(range(len(sources)), sources, fontsize=8)
    ax.set_xlabel("to (grey: there is no link)")
    ax.set_ylabel("from")
    if max(cells.shape) <= 16:
        _write_cells(ax, cells, amounts)
    return ax


def _natural(vertex: str) -> tuple[str | int, ...]:
    """Return a sort key that puts d2 before d10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", vertex))


def _write_cells(ax: Axes, cells: NDArray[np.float64], amounts: NDArray[np.float64]) -> None:
    """Write busy share and bytes into every cell that is a link."""
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            ax.text(
                column, row, f"{value:.0f} %\n{size(float(amounts[row, column]))}", ha="center",
                va="center", fontsize=6, color="white" if value > 60 else "black",
            )  # fmt: skip
