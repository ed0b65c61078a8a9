"""Marks of layers and phases above a gantt chart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tspsim.engine.timeline import Timeline
from tspsim.output.plots.bars import Chart, Row, heights
from tspsim.output.plots.phases import LOOKS, Stretch, phases
from tspsim.output.plots.style import DARK, GREY
from tspsim.output.plots.window import Window

#: Inches of a letter above the chart, and what a line per layer needs beside the next one.
LETTER, NARROW = 0.08, 0.12


class Page(NamedTuple):
    """How wide axes are, in inches, and the seconds of their unit."""

    inches: float
    scale: float


def layer_starts(timeline: Timeline, part: Window) -> Iterator[tuple[float, str]]:
    """Yield when the first shown rank begins to compute a layer, and which."""
    before = None
    for span in timeline.spans(part.ranks[0]):
        if span.op.lane or span.end <= part.start or span.start >= part.end:
            continue
        layer = "" if span.op.layer is None else f"layer {span.op.layer} "
        # Backward recomputes piece by piece: a line at each of them would hide what they mark.
        phase = "backward" if span.op.phase == "recompute" else span.op.phase
        here = f"{layer}{phase}"
        if here != before:
            yield max(span.start, part.start), here
        before = here


def every_layer(ax: Axes, drawn: Chart, timeline: Timeline, part: Window, page: Page) -> None:
    """Draw a line where the first rank begins a layer, with the layer's name if there is room.

    Past the rows of that rank only where the others have the same layers: not in a pipeline.
    """
    marks = list(layer_starts(timeline, part))
    pipelined = len(timeline.programs.roles) > 1
    last = min(row.bottom for row in drawn.rows if row.rank == part.ranks[0] or not pipelined)
    below = last / drawn.height if pipelined else 0.0
    ends = [start for start, _ in marks[1:]] + [part.end]
    for (start, name), end in zip(marks, ends, strict=False):  # of no mark there is no end
        room = page.inches * (end - start) / (part.end - part.start) / LETTER
        text = next((form for form in (name, name.rpartition(" ")[0]) if len(form) < room), "")
        _mark(ax, start / page.scale, text, below)


def some_layers(ax: Axes, timeline: Timeline, part: Window, page: Page) -> None:
    """Name every layer, every second one, every fourth... as there is room; draw their lines."""
    marks = [(start, name) for start, name in layer_starts(timeline, part) if "layer" in name]
    wide = page.inches / (part.end - part.start)
    for _, group in groupby(marks, key=lambda mark: mark[1].rpartition(" ")[2]):
        some = list(group)
        each = wide * (some[-1][0] - some[0][0]) / max(len(some) - 1, 1)
        step = 1
        while step < len(some) and step * each < LETTER * len("layer 00"):
            step *= 2
        for start, name in some:
            number = int(name.split(" ")[1])
            if number % step == 0 or each > NARROW:
                text = f"layer {number}" if number % step == 0 else ""
                _mark(ax, start / page.scale, text, 0.0)


def _mark(ax: Axes, x: float, text: str, below: float) -> None:
    ax.axvline(x, ymin=below, color=GREY, lw=0.8, zorder=0)
    if text:
        ax.annotate(
            text, (x, 1), (2, 3), xycoords=("data", "axes fraction"),
            textcoords="offset points", fontsize=7, color=DARK,
        )  # fmt: skip


def strips(ax: Axes, drawn: Chart, timeline: Timeline, part: Window, page: Page) -> set[str]:
    """Draw above the compute of a rank in which phase it is; return which phases there are.

    Of every rank in a pipeline, whose stages are in different ones; else of the first alone.
    """
    firsts = [row for row in drawn.rows if row.lane == 0]
    seen: set[str] = set()
    several = len(timeline.programs.roles) > 1
    for row in firsts if several else firsts[:1]:
        found = list(_shown(phases(timeline, row.rank), part))
        _strip(ax, row, found, page.scale)
        seen |= {each.phase for each in found}
        if row is firsts[0]:
            _names(ax, found, part, page, 3 if several else 11)
    return seen


def _shown(found: Iterable[Stretch], part: Window) -> Iterator[Stretch]:
    for phase, start, end in found:
        if end > part.start and start < part.end:
            yield Stretch(phase, max(start, part.start), min(end, part.end))


def _strip(ax: Axes, row: Row, found: Sequence[Stretch], scale: float) -> None:
    space = heights().space
    bottom, height = row.bottom + row.height + 0.15 * space, 0.6 * space
    for phase, start, end in found:
        corner, width = (start / scale, bottom), (end - start) / scale
        ax.add_patch(Rectangle(corner, width, height, lw=0.3, **LOOKS[phase]))


def _names(ax: Axes, found: Sequence[Stretch], part: Window, page: Page, points: float) -> None:
    """Write so many points above the chart what phase it is, where there is room."""
    for phase, start, end in found:
        if page.inches * (end - start) / (part.end - part.start) > 1.25 * LETTER * len(phase):
            ax.annotate(
                phase, (start / page.scale, 1), (2, points), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=8, fontweight="bold", color=DARK,
            )  # fmt: skip
