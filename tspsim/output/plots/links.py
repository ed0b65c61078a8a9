"""Links plot: how busy every link is, and how much it carries."""

from __future__ import annotations

import re
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.output.plots.style import DARK, GREY, SKY, axes
from tspsim.output.units import size
from tspsim.topology.graph import Link

if TYPE_CHECKING:
    from tspsim.result import Result

#: More links than this stand in a matrix of sender and receiver.
BARS = 32


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
    found = uses(result.timeline, result.scenario.topology.links)
    ax = _bars(found, ax) if len(found) <= BARS else _matrix(found, ax)
    name = result.scenario.name
    ax.set_title(f"{name}: busy share of the step, by link", loc="left", fontsize=10)
    return ax


def uses(timeline: Timeline, links: tuple[Link, ...]) -> list[Use]:
    """Return the use of every link of a topology, in order."""
    carried: dict[int, float] = defaultdict(float)
    intervals: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for transfer in timeline.transfers:
        for link, load in transfer.loads:
            carried[link] += load * transfer.bytes
            intervals[link].append((transfer.start, transfer.end))
    step = timeline.step_time or 1.0
    return [
        Use(
            link,
            _covered(intervals[link.index]) / step,
            carried[link.index] / (link.bandwidth * step),
            carried[link.index],
        )
        for link in links
    ]


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
