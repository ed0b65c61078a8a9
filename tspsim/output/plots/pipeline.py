"""Pipeline: what every stage does with which micro-batch, as the figures of the papers show it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from tspsim.output.passes import Pass, named
from tspsim.output.plots.density import shares
from tspsim.output.plots.gantt import step_of
from tspsim.output.plots.stages import Lane, Stretch, lanes
from tspsim.output.plots.style import BLUE, DARK, GREEN, LIME, ORANGE, PALE_GREY, PURPLE, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import stretch
from tspsim.output.units import share, time_unit

if TYPE_CHECKING:
    from tspsim.result import Result

#: Inches of a new figure: of few passes on a row, of each, and at most.
WIDTH, EACH, WIDEST = 14.0, 0.18, 28.0
#: Inches of a row: of few, and of all together at most.
ROW, ALL_ROWS = 0.34, 14.0
#: Part of a row that its bars take; the thin bar of sums lies in the rest.
FULL, THIN = 0.80, 0.14
#: More passes than this on a row are too narrow for bars: what is drawn is how much of the time
#: goes into each kind.
DENSE = 1500
#: Stretches of time of which that is told.
BINS = 150
#: Points of numbers at most and at least.
LARGEST, SMALLEST = 8.0, 4.0
#: What the kinds of passes are called, in the order of the legend, and their colours.
KINDS = {
    "F": ("forward", BLUE),
    "B": ("backward", GREEN),
    "I": ("backward: input gradient", LIME),
    "W": ("backward: weight gradients", ORANGE),
}
#: How much of white the last chunk's colour has.
PALEST = 0.62


class Row(NamedTuple):
    """Where a lane lies on the page: its bottom and its height in inches."""

    bottom: float
    height: float


class Span(NamedTuple):
    """What of the step is shown, in seconds, the unit of the axis, and its length in inches."""

    start: float
    end: float
    scale: float
    unit: str
    width: float

    def inches(self, seconds: float) -> float:
        """Return how wide a time is drawn."""
        return seconds * self.width / (self.end - self.start) if self.end > self.start else 0.0


def plot(
    result: Result,
    ax: Axes | None = None,
    *,
    window: tuple[float, float] | None = None,
    until: float | None = None,
) -> Axes:
    """Draw a rank of every stage as a row, every pass as a bar with its micro-batch's number.

    Grey is the bubble: compute stands still because a micro-batch has not come. What is white is
    spent otherwise: on communication inside of the stage. Without a pipeline there is one row.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    window : (float, float), optional
        Start and end of what is drawn, in seconds.
    until : float, optional
        Where the axis ends, if beyond that; in seconds.

    Raises
    ------
    UserError
        When nothing lies in the window.
    """
    start, end = stretch(result.timeline, window)
    found = [_within(lane, start, end) for lane in lanes(result.timeline)]
    most = max(len(lane.bars) for lane in found)
    height = row_height(len(found))
    dense = most > DENSE
    width = WIDTH if dense else min(max(WIDTH, EACH * most), WIDEST)
    ax = axes(ax, width, height * len(found) + 1.1, rows=True)
    rows = [Row(height * (len(found) - place - 1), height) for place in range(len(found))]
    end = max(end, until or 0.0)
    part = Span(start, end, *time_unit(end), _inches(ax))
    for row, lane in zip(rows, found, strict=True):
        (_density if dense else _bars)(ax, row, lane, part)
        _beside(ax, row, lane, part)
    _dress(ax, rows, found, part)
    set_title(ax, _title(result, dense))
    _legend(ax, found, dense)
    return ax


def row_height(rows: int) -> float:
    """Return the inches of each of so many rows."""
    return min(ROW, ALL_ROWS / rows)


def _inches(ax: Axes) -> float:
    """Return how wide axes are."""
    return float(ax.get_window_extent().width / ax.figure.dpi)


def _within(lane: Lane, start: float, end: float) -> Lane:
    """Return what of a lane is shown."""

    def cut(stretches: Sequence[Stretch]) -> tuple[Stretch, ...]:
        both = ((max(a, start), min(b, end)) for a, b in stretches)
        return tuple((a, b) for a, b in both if b > a)

    bars = (bar._replace(start=max(bar.start, start), end=min(bar.end, end)) for bar in lane.bars)
    shown = tuple(bar for bar in bars if bar.end > bar.start)
    return Lane(lane.rank, lane.stages, shown, cut(lane.bubble), cut(lane.updates), cut(lane.sums))


# ---- what is drawn -------------------------------------------------------------------------------


def _beside(ax: Axes, row: Row, lane: Lane, part: Span) -> None:
    """Draw what lies beside the passes."""
    bottom, full = row.bottom + THIN * row.height, FULL * row.height
    _boxes(
        ax, lane.updates, (bottom, full), part,
        facecolor="white", edgecolor=DARK, hatch="//////", lw=0.4,
    )  # fmt: skip
    _boxes(ax, lane.sums, (row.bottom, 0.7 * THIN * row.height), part, color=PURPLE, lw=0)


def _boxes(
    ax: Axes, found: Sequence[Stretch], place: tuple[float, float], part: Span, **style: object
) -> None:
    if found:
        spans = [(a / part.scale, (b - a) / part.scale) for a, b in found]
        ax.broken_barh(spans, place, **style)  # type: ignore[arg-type]


def _bars(ax: Axes, row: Row, lane: Lane, part: Span) -> None:
    """Draw bubble and passes, with the numbers of micro-batches."""
    low, high = row.bottom + THIN * row.height, row.bottom + (THIN + FULL) * row.height
    _boxes(ax, lane.bubble, (low, high - low), part, color=PALE_GREY, lw=0)
    x = np.array([(bar.start / part.scale, bar.end / part.scale) for bar in lane.bars])
    if not x.size:
        return
    y = np.broadcast_to([low, high], x.shape)
    corners = np.stack([x[:, [0, 0, 1, 1]], y[:, [0, 1, 1, 0]]], axis=-1)
    wide = part.inches(float(np.median([bar.end - bar.start for bar in lane.bars]))) > 0.05
    ax.add_collection(
        PolyCollection(
            corners,  # type: ignore[arg-type]
            facecolors=[colour(bar.kind, bar.chunk, len(lane.stages)) for bar in lane.bars],
            edgecolors="white", linewidths=0.5 if wide else 0.1,
            label=f"rank {lane.rank}",
        )
    )  # fmt: skip
    _numbers(ax, row, lane, part)


def _numbers(ax: Axes, row: Row, lane: Lane, part: Span) -> None:
    """Write the numbers of micro-batches into the bars that have room for them."""
    sizes = _sizes(lane.bars, 72 * 0.62 * FULL * row.height, part)
    y = row.bottom + (THIN + FULL / 2) * row.height
    for bar in lane.bars:
        text, font = str(bar.micro_batch), sizes[bar.kind, bar.chunk]
        if font < SMALLEST or _font(bar, len(text), part) < font:
            continue
        red, green, blue = colour(bar.kind, bar.chunk, len(lane.stages))
        light = 0.299 * red + 0.587 * green + 0.114 * blue
        ax.text(
            (bar.start + bar.end) / 2 / part.scale, y, text, fontsize=font,
            ha="center", va="center_baseline", clip_on=True,
            color="black" if light > 0.55 else "white",
        )  # fmt: skip


def _sizes(bars: Sequence[Pass], most: float, part: Span) -> dict[tuple[str, int], float]:
    """Return the size of numbers by kind and chunk, in points: one for all that are alike."""
    digits = len(str(max(bar.micro_batch for bar in bars)))
    found: dict[tuple[str, int], list[float]] = defaultdict(list)
    for bar in bars:
        found[bar.kind, bar.chunk].append(_font(bar, digits, part))
    return {key: min(LARGEST, most, 0.99 * float(np.median(f))) for key, f in found.items()}


def _font(bar: Pass, digits: int, part: Span) -> float:
    """Return the largest size at which so many digits fit into a bar, in points."""
    return 72 * part.inches(bar.end - bar.start) / (0.72 * digits)


def colour(kind: str, chunk: int, chunks: int) -> tuple[float, float, float]:
    """Return the colour of a pass: paler from chunk to chunk."""
    white = PALEST * chunk / (chunks - 1) if chunks > 1 else 0.0
    red, green, blue = (part + (1 - part) * white for part in to_rgb(KINDS[kind][1]))
    return red, green, blue


def _density(ax: Axes, row: Row, lane: Lane, part: Span) -> None:
    """Draw how much of each stretch of time goes into each kind of pass, one upon the other."""
    edges = np.linspace(part.start, part.end, BINS + 1)
    base = np.full(BINS, row.bottom + THIN * row.height)
    parts = [
        (KINDS[kind][1], [(bar.start, bar.end) for bar in lane.bars if bar.kind == kind])
        for kind in KINDS
    ]
    for face, found in [*parts, (PALE_GREY, list(lane.bubble))]:
        if not found:
            continue
        top = base + FULL * row.height * shares(found, edges)
        ax.fill_between(
            edges / part.scale, np.append(base, base[-1]), np.append(top, top[-1]), step="post",
            color=face, lw=0,
        )  # fmt: skip
        base = top


# ---- around it -----------------------------------------------------------------------------------


def _dress(ax: Axes, rows: Sequence[Row], found: Sequence[Lane], part: Span) -> None:
    """Name the rows and take away what only distracts."""
    ax.set_ylim(0, rows[0].bottom + rows[0].height)
    ax.set_xlim(part.start / part.scale, part.end / part.scale)
    ax.set_yticks([row.bottom + (THIN + FULL / 2) * row.height for row in rows])
    ax.set_yticklabels([named(lane.rank, lane.stages) for lane in found])
    ax.tick_params(axis="y", length=0, labelsize=min(8.0, 55 * rows[0].height))
    ax.set_xlabel(f"time since the start of the step [{part.unit}]")
    plain_ticks(ax.xaxis)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _title(result: Result, dense: bool) -> str:
    figures = result.summary.to_dict()
    title = titled(result, f"step {step_of(result)}")
    if found := figures.get("pipeline"):
        bubble = share(found["bubble"]["mean"], figures["step_time"])
        title += f"; {found['schedule']}, bubble {bubble} of the step"
    return title + ("; heights: share of the time" if dense else "")


def _legend(ax: Axes, found: Sequence[Lane], dense: bool) -> None:
    """Explain what is drawn."""
    chunks = 1 if dense else max(len(lane.stages) for lane in found)
    handles = list(_passes(found, chunks))
    if any(lane.bubble for lane in found):
        handles.append(Patch(facecolor=PALE_GREY, label="bubble"))
    if any(lane.updates for lane in found):
        handles.append(Patch(facecolor="white", edgecolor=DARK, hatch="//////", label="optimizer"))
    if any(lane.sums for lane in found):
        handles.append(Patch(facecolor=PURPLE, label="sums of gradients,\nweights gathered"))
    ax.legend(
        handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0,
        frameon=False, fontsize=8,
    )  # fmt: skip


def _passes(found: Sequence[Lane], chunks: int) -> Iterator[Patch]:
    kinds = {bar.kind for lane in found for bar in lane.bars}
    for kind, (name, _) in KINDS.items():
        if kind in kinds:
            yield Patch(facecolor=colour(kind, 0, chunks), label=name)
    if chunks > 1 and kinds:
        kind = "F" if "F" in kinds else min(kinds)
        yield Patch(facecolor=colour(kind, chunks - 1, chunks), label="paler: later chunks")
