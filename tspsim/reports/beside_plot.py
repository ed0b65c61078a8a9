"""Gantt chart of a measured step above the simulated one, on one time axis, in the same colours."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from tspsim.output.pictures import check, save
from tspsim.output.plots.style import (
    COMMUNICATION,
    COMPUTE,
    DARK,
    GREY,
    PALE_GREY,
    Style,
)
from tspsim.output.units import time
from tspsim.reports.beside_rows import ORDER, Side, alike
from tspsim.traces.events import Activity

if TYPE_CHECKING:
    from tspsim.reports.beside import Beside

#: Ranks that are drawn: ranks do alike, and both sides have to fit on one page.
RANKS = 2
#: Inches of the figure, of a row, and between ranks.
WIDTH, ROW, SPACE = 12.0, 0.2, 0.12
#: A part of the axis that can just be seen: bars are as wide at least, and nearer ones are one.
_NEAR = 1 / 2000

#: How kinds of compute are drawn; what is no compute and no communication is the host's.
_COMPUTE = {
    "matmul": COMPUTE["matmul"], "grouped": COMPUTE["experts"], "attention": COMPUTE["attention"],
    "attention_backward": COMPUTE["attention"], "elementwise": COMPUTE["other"],
}  # fmt: skip
_HOST = Style("views, issuing, copies", PALE_GREY)
_ORDER = [_HOST, *dict.fromkeys(_COMPUTE.values())]


def draw(found: Beside, path: str | Path) -> None:
    """Draw both and save the picture.

    Parameters
    ----------
    found : Beside
    path : str or Path
        Its suffix says the format, as in `tspsim.output.pictures.draw`.

    Raises
    ------
    OutputError
        When the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    check(path)
    save(figure(found), path, f"{found.result.scenario.name}, measured and simulated")


def figure(found: Beside) -> Figure:
    """Return the figure: for every rank a row that computes, and one for each collective."""
    shown = found.step.ranks[:RANKS]
    of_ranks = [rank.activities for rank in shown]
    sides = alike(of_ranks, found.simulated[: len(shown)])
    kinds = _kinds(sides)
    height = len(shown) * ((1 + len(kinds)) * ROW + SPACE)
    drawn = Figure(figsize=(WIDTH, 2 * height + 1.6), layout="constrained")
    both = drawn.subplots(2, 1, sharex=True)
    ends = found.step.seconds, found.result.timeline.step_time
    first = min(0.0, *(a.start for rank in of_ranks for a in rank))
    for ax, side, end, title in zip(both, sides, ends, _titles(found), strict=True):
        _side(ax, side, [rank.rank for rank in shown], kinds, (max(ends) - first) * _NEAR)
        ax.axvline(end * 1e3, color=DARK, lw=1.0, ls="--")
        ax.set_title(title, loc="left", fontsize=10)
    both[0].set_xlim(first * 1e3, max(ends) * 1e3 * 1.01)
    both[0].tick_params(labelbottom=True)
    both[1].set_xlabel("time since the start of the step [ms]")
    _legend(drawn, sides)
    return drawn


def _titles(found: Beside) -> tuple[str, str]:
    measured, predicted = found.step.seconds, found.result.timeline.step_time
    left = len(found.step.ranks) - RANKS
    more = f"; {left} further ranks not shown" if left > 0 else ""
    return (
        f"measured: {time(measured)} ({found.step.chosen}{more})",
        f"simulated: {time(predicted)}, {predicted / measured:.2f} of what was measured "
        f"({found.result.scenario.name})",
    )


def _kinds(sides: Sequence[Side]) -> list[str]:
    """Return the collectives of either side, in the order of the table."""
    there = {a.kind for side in sides for rank in side for a in rank if a.communication}
    return [kind for kind in dict.fromkeys((*ORDER, *sorted(there))) if kind in there]


def _side(ax: Axes, side: Side, ranks: Sequence[int], kinds: list[str], near: float) -> None:
    """Draw the rows of one side, from the top down."""
    rows = ["compute", *kinds]
    depth = len(rows) * ROW + SPACE
    ticks, names = [], []
    for place, rank in enumerate(side):
        bars = _bars(rank)
        for number, row in enumerate(rows):
            bottom = -(place * depth + (number + 1) * ROW)
            for style, spans in sorted(bars[row].items(), key=lambda item: item[0] != _HOST):
                widths = [(a * 1e3, (b - a) * 1e3) for a, b in _merged(spans, near)]
                narrow = min(width for _, width in widths) < 8e3 * near
                ax.broken_barh(
                    widths, (bottom, 0.92 * ROW), facecolors=style.colour,
                    edgecolors="none" if narrow else "white", linewidth=0.3,
                )  # fmt: skip
            ticks.append(bottom + ROW / 2)
            names.append(f"rank {ranks[place]}  {row}" if not number else row)
    _dress(ax, ticks, names, len(side) * depth)


def _bars(rank: Sequence[Activity]) -> dict[str, dict[Style, list[tuple[float, float]]]]:
    """Return start and end of everything, by row and style."""
    found: defaultdict[str, defaultdict[Style, list[tuple[float, float]]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for a in rank:
        row = a.kind if a.communication else "compute"
        found[row][_style(a)].append((a.start, a.end))
    return found  # type: ignore[return-value]


def _style(a: Activity) -> Style:
    if not a.communication:
        return _COMPUTE.get(a.kind, _HOST)
    found = {str(kind): style for kind, style in COMMUNICATION.items()}
    return found.get(a.kind, Style(a.kind, GREY))


def _merged(spans: list[tuple[float, float]], near: float) -> Iterator[tuple[float, float]]:
    """Yield spans, those that lie nearer to each other than can be seen as one."""
    (start, end), *rest = sorted(spans)
    for a, b in rest:
        if a - end < near:
            end = max(end, b)
            continue
        yield start, max(end, start + near)
        start, end = a, b
    yield start, max(end, start + near)


def _dress(ax: Axes, ticks: list[float], names: list[str], depth: float) -> None:
    ax.set_ylim(-depth, 0)
    ax.set_yticks(ticks, names)
    for label in ax.get_yticklabels():
        head = label.get_text().startswith("rank")
        label.set_fontsize(8 if head else 7)
        label.set_fontweight("bold" if head else "normal")
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _legend(drawn: Figure, sides: Sequence[Side]) -> None:
    """Explain the colours of the compute rows; those of the others are named at their rows."""
    there = {_style(a) for side in sides for rank in side for a in rank if not a.communication}
    styles = [style for style in _ORDER if style in there]
    patches = [Patch(facecolor=style.colour, label=style.name) for style in styles]
    drawn.legend(
        handles=patches, loc="outside right upper", frameon=False, fontsize=8,
        title="compute rows", title_fontsize=8, alignment="left",
    )  # fmt: skip
