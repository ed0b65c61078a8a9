"""Links plot: how busy every link is, and how much it carries."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline, Transfer
from tspsim.files.numbers import plain
from tspsim.output.plots.paper import asked
from tspsim.output.plots.style import DARK, GREY, SKY, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.units import size
from tspsim.topology.graph import Link

if TYPE_CHECKING:
    from tspsim.result import Result

#: More links than this are drawn as a row for all links of a kind, or, where every device is
#: joined to every other one, as a matrix of sender and receiver.
BARS = 32
#: Of a matrix of more senders than this the cells are too small to be written in.
CELLS = 16
#: Inches of the picture that a column of a matrix needs to be written in: print has fewer.
ROOM = 0.7
#: How long an axis is over its longest bar, behind which something is written: less, or more.
BEYOND = (1.45, 1.75)
#: A picture of fewer inches is the column of a paper, with letters as large as on a screen: there
#: an axis is so much longer still.
NARROW, LONGER = 5.0, 2.0


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

    Bars for few links; for many a bar for all that join the same kinds of things, or a matrix of
    sender and receiver where all devices are joined to each other. The axis ends where the busiest
    link does: an almost idle one is still seen.
    """
    found = uses(result.timeline, result.scenario.topology.links)
    if len(found) <= BARS:
        drawn, what = _bars(found, ax), "every link"
    elif _all_joined(found):
        drawn, what = _matrix(found, ax), "every link"
    else:
        drawn, what = _kinds(found, ax), f"all {len(found):,} links, by what they join"
    set_title(drawn, titled(result, f"how busy links are: {what}"))
    return drawn


def _all_joined(found: list[Use]) -> bool:
    """Say whether the links are those between all devices of one small node."""
    ends = {use.link.source for use in found} | {use.link.target for use in found}
    return len(ends) <= CELLS and len(found) == len(ends) * (len(ends) - 1)


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
    """Draw a bar for every link: how long it is busy, and inside of it how much it carries."""
    texts = [f"{_percent(use.busy)} busy, {size(use.bytes)}" for use in found]
    busy, used = ([100 * value for value in values] for values in zip(
        *((use.busy, use.used) for use in found), strict=True))  # fmt: skip
    ax = _rows(
        ax, [use.link.name for use in found], list(zip(busy, texts, strict=True)), 0.24, BEYOND[0]
    )
    places = np.arange(len(found))
    ax.barh(places, busy, color=SKY, label="busy")
    ax.barh(places, used, height=0.3, color=DARK, label="bytes, as a share of\nwhat it could carry")
    return _with_legend(ax)


def _kinds(found: list[Use], ax: Axes | None) -> Axes:
    """Draw a bar for all links between the same kinds of things, with the least and the most."""
    groups: dict[str, list[Use]] = defaultdict(list)
    for use in found:
        groups[kind_of(use.link)].append(use)
    busy = {kind: np.array([100 * use.busy for use in some]) for kind, some in groups.items()}
    rows = [(float(busy[kind].max()), _told(some)) for kind, some in groups.items()]
    longer = LONGER if (asked() or NARROW) < NARROW else 1.0
    ax = _rows(ax, list(groups), rows, 0.36, BEYOND[1] * longer)
    places, means = np.arange(len(groups)), np.array([each.mean() for each in busy.values()])
    ax.barh(places, means, color=SKY, label="busy, on average")
    ends = [(each.min(), each.max()) for each in busy.values()]
    around = np.array([(m - low, high - m) for m, (low, high) in zip(means, ends, strict=True)]).T
    ax.errorbar(
        means, places, xerr=np.maximum(around, 0.0), fmt="none", ecolor=DARK, capsize=3, lw=1.2,
        label="from the idlest to\nthe busiest link",
    )  # fmt: skip
    return _with_legend(ax)


def kind_of(link: Link) -> str:
    """Return what a link joins, without the numbers: ``"node*.d*→switch"`` of ``"d8→node1.sw"``."""
    return re.sub(r"\d+", "*", link.name)


def _told(some: list[Use]) -> str:
    """Return what to say of links of one kind."""
    most = max(some, key=lambda use: use.busy)
    if not most.busy:
        return f"{len(some):,} links, never busy"
    ends = size(min(use.bytes for use in some)), size(max(use.bytes for use in some))
    carried = " to ".join(dict.fromkeys(ends))
    return f"{len(some):,} links, {carried} each;\nbusiest {most.link.name}, {_percent(most.busy)}"


def _rows(
    ax: Axes | None, names: list[str], ends: list[tuple[float, str]], height: float, beyond: float
) -> Axes:
    """Return axes with a named row for each bar, and a text behind the end of each."""
    ax = axes(ax, 8.0, 1.0 + height * max(len(names), 3), rows=True)
    for place, (end, text) in enumerate(ends):
        ax.annotate(
            text, (end, place), (5, 0), textcoords="offset points", va="center", fontsize=7
        )  # fmt: skip
    ax.set_yticks(np.arange(len(names)), names, fontsize=8)
    ax.set_ylim(max(len(names), 3) - 0.5, -0.5)
    ax.set_xlim(0, beyond * (max(end for end, _ in ends) or 1.0))
    ax.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    plain_ticks(ax.xaxis)
    ax.set_xlabel("share of the step [%]")
    ax.spines[["top", "right"]].set_visible(False)
    return ax


def _with_legend(ax: Axes) -> Axes:
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8
    )
    return ax


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share >= 0.01 or not share else f"{plain(100 * share, 2)} %"


def _matrix(found: list[Use], ax: Axes | None) -> Axes:
    sources = sorted({use.link.source for use in found}, key=_natural)
    targets = sorted({use.link.target for use in found}, key=_natural)
    cells = np.full((len(sources), len(targets)), np.nan)
    amounts = np.zeros_like(cells)
    for use in found:
        place = sources.index(use.link.source), targets.index(use.link.target)
        cells[place], amounts[place] = 100 * use.busy, use.bytes
    edge = 2.5 + 0.5 * max(len(sources), len(targets))
    ax = axes(ax, edge + 1.2, edge)
    ax.set_facecolor(GREY)
    most = float(np.nanmax(cells)) or 1.0
    image = ax.imshow(cells, cmap="Blues", vmin=0, vmax=most)
    bar = ax.figure.colorbar(image, ax=ax, label="busy share of the step [%]", shrink=0.8)
    plain_ticks(bar.ax.yaxis)
    ax.set_xticks(range(len(targets)), targets, fontsize=8)
    ax.set_yticks(range(len(sources)), sources, fontsize=8)
    ax.set_xlabel("to (grey: there is no link)")
    ax.set_ylabel("from")
    whole = ax.get_figure(root=True)
    if whole is None or whole.get_figwidth() >= ROOM * len(targets):
        _write_cells(ax, cells, amounts, most)
    return ax


def _natural(vertex: str) -> tuple[str | int, ...]:
    """Return a sort key that puts d2 before d10."""
    return tuple(int(part) if part.isdigit() else part for part in re.split(r"(\d+)", vertex))


def _write_cells(
    ax: Axes, cells: NDArray[np.float64], amounts: NDArray[np.float64], most: float
) -> None:
    """Write busy share and bytes into every cell that is a link."""
    for (row, column), value in np.ndenumerate(cells):
        if np.isfinite(value):
            ax.text(
                column, row, f"{_percent(value / 100)}\n{size(float(amounts[row, column]))}",
                ha="center", va="center", fontsize=6,
                color="white" if value > 0.6 * most else "black",
            )  # fmt: skip
