"""Gantt chart: what every rank computes and moves, and where it waits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from tspsim.engine.timeline import Timeline
from tspsim.output.plots.style import (
    BLUE,
    COMMUNICATION,
    COMPUTE,
    DARK,
    GREEN,
    GREY,
    HELD,
    PALE,
    RECOMPUTED,
    WAIT,
    Style,
    axes,
    style_of,
)
from tspsim.output.plots.waits import held_back, waits
from tspsim.output.plots.window import Window, choose
from tspsim.output.units import time, time_unit
from tspsim.program.types import Op

if TYPE_CHECKING:
    from tspsim.result import Result

#: Heights of a compute row, a communication row, and the space between ranks, in inches.
COMPUTE_ROW, LANE_ROW, SPACE = 0.24, 0.15, 0.10
WIDTH = 12.0
#: Vector files with more bars than this hold them as a picture.
MANY = 10_000
#: The legend's order.
ORDER = [*COMPUTE.values(), *RECOMPUTED.values(), WAIT, *COMMUNICATION.values(), HELD]


class Row(NamedTuple):
    """A lane of a rank on the page: its bottom and its height in inches."""

    rank: int
    lane: int
    name: str
    bottom: float
    height: float


class Bar(NamedTuple):
    """A task on the page: seconds, and what it is."""

    row: Row
    start: float
    end: float
    op: Op | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn, by style."""

    rows: tuple[Row, ...]
    bars: dict[Style, list[Bar]]


def plot(
    result: Result,
    ax: Axes | None = None,
    *,
    window: tuple[float, float] | None = None,
    layers: tuple[int, int] | None = None,
    ranks: Sequence[int] | None = None,
) -> Axes:
    """Draw ranks as lanes over time, compute and every communicator on a row of its own.

    A gap in a compute row is hatched: the rank waits there for communication. A run of many tasks
    is cut to a few layers in its middle.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    window : (float, float), optional
        Start and end of what is drawn, in seconds.
    layers : (int, int), optional
        First and last layer to draw (their forward pass).
    ranks : sequence of int, optional
        The ranks to draw, from top to bottom; the first eight when not given.
    """
    part = choose(result, window, layers, ranks)
    chart = _chart(result.timeline, part)
    height = chart.rows[0].bottom + chart.rows[0].height
    ax = axes(ax, WIDTH, height + 1.2)
    scale, unit = time_unit(part.end)
    _mark_layers(ax, result.timeline, part, scale)
    for style, bars in chart.bars.items():
        ax.add_collection(_collection(style, bars, scale))
    _label_bars(ax, chart, part, scale)
    _dress(ax, chart, part, scale)
    ax.set_ylim(0, height)
    ax.set_xlabel(f"time since the start of the step [{unit}]")
    ax.set_title(_title(result, part), loc="left", fontsize=10, pad=16)
    _legend(ax, chart)
    return ax


def _chart(timeline: Timeline, part: Window) -> Chart:
    rows = tuple(_rows(timeline, part.ranks))
    bars: dict[Style, list[Bar]] = defaultdict(list)
    for row in rows:
        for style, bar in _bars(timeline, row, part):
            clipped = bar._replace(start=max(bar.start, part.start), end=min(bar.end, part.end))
            bars[style].append(clipped)
    return Chart(rows, dict(bars))


def _rows(timeline: Timeline, ranks: tuple[int, ...]) -> Iterator[Row]:
    """Yield the rows from the top of the page to its bottom."""
    lanes = [timeline.programs.of(rank).lanes for rank in ranks]
    top = sum(COMPUTE_ROW + LANE_ROW * (len(found) - 1) + SPACE for found in lanes)
    for rank, found in zip(ranks, lanes, strict=True):
        for index, lane in enumerate(found):
            height = LANE_ROW if index else COMPUTE_ROW
            top -= height
            yield Row(rank, index, lane.name, top, height)
        top -= SPACE


def _bars(timeline: Timeline, row: Row, part: Window) -> Iterator[tuple[Style, Bar]]:
    """Yield the tasks of a row that are seen in the window, and where it stands still."""
    start, end = timeline.start[row.rank], timeline.end[row.rank]
    ops = timeline.programs.of(row.rank).ops
    of_row = [op.index for op in ops if op.lane == row.lane]
    for i in of_row:
        if end[i] > part.start and start[i] < part.end and end[i] > start[i]:
            yield style_of(ops[i]), Bar(row, float(start[i]), float(end[i]), ops[i])
    if row.lane == 0:
        still, style, inset = waits(timeline, row.rank), WAIT, row
    else:
        still, style = held_back(timeline, row.rank, of_row), HELD
        inset = row._replace(bottom=row.bottom + 0.42 * row.height, height=0.16 * row.height)
    for begin, until in still:
        if until > part.start and begin < part.end:
            yield style, Bar(inset, begin, until, None)


def _collection(style: Style, bars: list[Bar], scale: float) -> PolyCollection:
    """Return the bars of one style as one artist."""
    x = np.array([(bar.start / scale, bar.end / scale) for bar in bars])
    y = np.array([(bar.row.bottom, bar.row.bottom + bar.row.height) for bar in bars])
    corners = np.stack(
        [x[:, [0, 0, 1, 1]], np.column_stack([y[:, 0], y[:, 1], y[:, 1], y[:, 0]])], axis=-1
    )
    return PolyCollection(
        corners,  # type: ignore[arg-type]
        facecolors=_face(style), edgecolors=_edge(style), hatch=style.hatch or None,
        linewidths=0.0 if style.hatch else 0.3, rasterized=len(bars) > MANY, label=style.name,
    )  # fmt: skip


def _dress(ax: Axes, chart: Chart, part: Window, scale: float) -> None:
    """Name the rows and take away what only distracts."""
    ax.set_yticks([row.bottom + row.height / 2 for row in chart.rows])
    ax.set_yticklabels([_row_name(row) for row in chart.rows])
    for label, row in zip(ax.get_yticklabels(), chart.rows, strict=True):
        label.set_fontsize(8 if row.lane == 0 else 6.5)
        label.set_fontweight("bold" if row.lane == 0 else "normal")
    ax.tick_params(axis="y", length=0)
    ax.set_xlim(part.start / scale, part.end / scale)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _mark_layers(ax: Axes, timeline: Timeline, part: Window, scale: float) -> None:
    """Draw a line where the first rank begins a layer, with the layer's name if there is room."""
    marks = list(_layer_starts(timeline, part))
    ends = [start for start, _ in marks[1:]] + [part.end]
    for (start, name), end in zip(marks, ends, strict=True):
        ax.axvline(start / scale, color=GREY, lw=0.8, zorder=0)
        if (end - start) * WIDTH * 0.8 / (part.end - part.start) > 0.08 * len(name):
            ax.annotate(
                name, (start / scale, 1), (2, 1), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=7, color=DARK,
            )  # fmt: skip


def _layer_starts(timeline: Timeline, part: Window) -> Iterator[tuple[float, str]]:
    """Yield when the first shown rank begins to compute a layer, and which."""
    before = None
    for span in timeline.spans(part.ranks[0]):
        if span.op.lane or span.end <= part.start or span.start >= part.end:
            continue
        layer = "" if span.op.layer is None else f"layer {span.op.layer} "
        here = f"{layer}{span.op.phase}"
        if here != before:
            yield max(span.start, part.start), here
        before = here


def _row_name(row: Row) -> str:
    return f"rank {row.rank}  compute" if row.lane == 0 else row.name


def _title(result: Result, part: Window) -> str:
    step = time(result.timeline.step_time)
    title = f"{result.scenario.name}: step {step}"
    return (
        f"{title}. Shown: {part.note} (choose with --window, --layers, --ranks)"
        if part.note
        else title
    )


def _label_bars(ax: Axes, chart: Chart, part: Window, scale: float) -> None:
    """Write into bars that are wide enough what they are."""
    inches = WIDTH * 0.8 / (part.end - part.start)
    for style, bars in chart.bars.items():
        for bar in bars:
            text = _bar_text(bar)
            if text and (bar.end - bar.start) * inches > 0.06 * len(text) + 0.04:
                ax.text(
                    (bar.start + bar.end) / 2 / scale, bar.row.bottom + bar.row.height / 2, text,
                    ha="center", va="center", fontsize=6, clip_on=True,
                    color="white" if style.colour in (BLUE, GREEN, DARK) else "black",
                )  # fmt: skip


def _bar_text(bar: Bar) -> str:
    if bar.op is None:
        return ""
    if bar.op.message is not None and bar.op.message.root is not None:
        return f"from {bar.op.message.root}"
    return bar.op.label.rsplit(".", 1)[-1]


def _legend(ax: Axes, chart: Chart) -> None:
    """Explain the styles in the order of `ORDER`, whatever the run met first."""
    patches = [
        Patch(
            facecolor=_face(style), edgecolor=_edge(style), hatch=style.hatch or None,
            label=_called(style, chart.bars[style]),
        )
        for style in sorted(chart.bars, key=ORDER.index)
    ]  # fmt: skip
    ax.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0,
        frameon=False, fontsize=8,
    )  # fmt: skip


def _called(style: Style, bars: list[Bar]) -> str:
    """Return a style's name, with what it moves where that is communication."""
    collectives = {bar.op.message.collective for bar in bars if bar.op and bar.op.message}
    lanes = {bar.row.name.rpartition("/")[2] for bar in bars}
    if not collectives:
        return style.name
    return f"{', '.join(sorted(collectives))} ({', '.join(sorted(lanes))})"


def _face(style: Style) -> str:
    return PALE if style is WAIT else style.colour


def _edge(style: Style) -> str:
    return style.colour if style is WAIT else "white"
