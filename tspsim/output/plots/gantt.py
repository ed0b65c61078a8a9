"""Gantt chart: what every rank computes and moves, and where it waits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from tspsim.engine.timeline import Timeline
from tspsim.mesh import PP
from tspsim.output.passes import named, stages_of
from tspsim.output.plots.bars import Bar, Chart, Row, chart
from tspsim.output.plots.style import (
    BLUE,
    COMMUNICATION,
    COMPUTE,
    DARK,
    GREEN,
    GREY,
    INDIGO,
    ISSUE,
    PALE,
    RECOMPUTED,
    WAITS,
    WINE,
    Style,
    axes,
    style_of,
)
from tspsim.output.plots.titles import titled
from tspsim.output.plots.window import Window, choose
from tspsim.output.units import step_time, time_unit
from tspsim.program.by_expert import EXPERTS

if TYPE_CHECKING:
    from tspsim.result import Result

#: Inches of a new figure, and of the axes in it.
WIDTH, AXES = 12.0, 9.3
#: Vector files with more bars than this hold them as a picture.
MANY = 10_000
#: Texts in bars beyond this say nothing more, and are slow.
TEXTS = 400
#: The legend's order.
ORDER = [*COMPUTE.values(), *RECOMPUTED.values(), ISSUE, *WAITS, *COMMUNICATION.values()]


def plot(
    result: Result,
    ax: Axes | None = None,
    *,
    window: tuple[float, float] | None = None,
    layers: tuple[int, int] | None = None,
    ranks: Sequence[int] | None = None,
) -> Axes:
    """Draw ranks as lanes over time, compute and every communicator on a row of its own.

    A gap in a compute row is hatched: the rank waits there for communication, or for its host. A
    run of many tasks is cut to a few layers in its middle.

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

    Raises
    ------
    UserError
        When the window, a layer or a rank lies outside of the run.
    """
    part = choose(result, window, layers, ranks)
    drawn = chart(result.timeline, part)
    ax = axes(ax, WIDTH, drawn.height + 1.2)
    scale, unit = time_unit(part.end)
    _mark_layers(ax, drawn, result.timeline, part, scale)
    many = sum(map(len, drawn.bars.values())) > MANY
    for style, bars in drawn.bars.items():
        ax.add_collection(_collection(style, bars, scale, many))
    _write_in_bars(ax, drawn, part, scale)
    _dress(ax, drawn, result.timeline)
    ax.set_xlim(part.start / scale, part.end / scale)
    ax.set_xlabel(f"time since the start of the step [{unit}]")
    ax.set_title(_title(result, part), loc="left", fontsize=10, pad=16)
    _legend(ax, drawn)
    return ax


def _collection(style: Style, bars: list[Bar], scale: float, many: bool) -> PolyCollection:
    """Return the bars of one style as one artist: thousands of artists would take minutes."""
    x = np.array([(bar.start / scale, bar.end / scale) for bar in bars])
    y = np.array([(bar.row.bottom, bar.row.bottom + bar.row.height) for bar in bars])
    corners = np.stack([x[:, [0, 0, 1, 1]], y[:, [0, 1, 1, 0]]], axis=-1)
    return PolyCollection(
        corners,  # type: ignore[arg-type]
        facecolors=_face(style), edgecolors=_edge(style), hatch=style.hatch or None,
        linewidths=0.0 if style.hatch else 0.3, rasterized=many, label=style.name,
    )  # fmt: skip


def _face(style: Style) -> str:
    return PALE if style in WAITS else style.colour


def _edge(style: Style) -> str:
    return style.colour if style in WAITS else "white"


def _mark_layers(ax: Axes, drawn: Chart, timeline: Timeline, part: Window, scale: float) -> None:
    """Draw a line where the first rank begins a layer, with the layer's name if there is room.

    Past the rows of that rank only where the others have the same layers: not in a pipeline.
    """
    marks = list(layer_starts(timeline, part))
    pipelined = len(timeline.programs.roles) > 1
    last = min(row.bottom for row in drawn.rows if row.rank == part.ranks[0] or not pipelined)
    below = last / drawn.height if pipelined else 0.0
    ends = [start for start, _ in marks[1:]] + [part.end]
    for (start, name), end in zip(marks, ends, strict=False):  # of no mark there is no end
        ax.axvline(start / scale, ymin=below, color=GREY, lw=0.8, zorder=0)
        room = _inches(end - start, part) / 0.08
        text = next((form for form in (name, name.rpartition(" ")[0]) if len(form) < room), "")
        if text:
            ax.annotate(
                text, (start / scale, 1), (2, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize=7, color=DARK,
            )  # fmt: skip


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


def _inches(seconds: float, part: Window) -> float:
    return seconds * AXES / (part.end - part.start)


def _write_in_bars(ax: Axes, drawn: Chart, part: Window, scale: float) -> None:
    """Write into bars that are wide enough what they are."""
    texts = [(bar, _bar_text(bar)) for bars in drawn.bars.values() for bar in bars if bar.op]
    room = [(b, text) for b, text in texts if _inches(b.end - b.start, part) > 0.07 * len(text)]
    for bar, text in room[:TEXTS]:
        dark = bar.op is not None and style_of(bar.op).colour in (BLUE, GREEN, DARK, INDIGO, WINE)
        ax.text(
            (bar.start + bar.end) / 2 / scale, bar.row.bottom + 0.47 * bar.row.height, text,
            ha="center", va="center", fontsize=6, clip_on=True, color="white" if dark else "black",
        )  # fmt: skip


def _bar_text(bar: Bar) -> str:
    """Return the root of a broadcast, and of any other task its label."""
    if bar.op is None:
        return ""
    if bar.op.message is not None and bar.op.message.root is not None:
        return f"from {bar.op.message.root}"
    return bar.op.label


def _dress(ax: Axes, drawn: Chart, timeline: Timeline) -> None:
    """Name the rows and take away what only distracts."""
    ax.set_ylim(0, drawn.height)
    ax.set_yticks([row.bottom + row.height / 2 for row in drawn.rows])
    ax.set_yticklabels([_row_name(row, timeline) for row in drawn.rows])
    for label, row in zip(ax.get_yticklabels(), drawn.rows, strict=True):
        label.set_fontsize(6.5 if row.lane else 8)
        label.set_fontweight("normal" if row.lane else "bold")
    ax.tick_params(axis="y", length=0)
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)


def _row_name(row: Row, timeline: Timeline) -> str:
    if row.lane:
        return row.name
    stages = stages_of(timeline.programs.of(row.rank)) if timeline.mesh.degree(PP) > 1 else ()
    return f"{named(row.rank, stages)}  {row.name}"


def step_of(result: Result) -> str:
    """Return a run's step time as a title has it: with where it lies, if that is known."""
    return step_time(result.timeline.step_time, result.summary.to_dict()["interval"])


def _title(result: Result, part: Window) -> str:
    title = titled(result, f"step {step_of(result)}")
    more = f". Shown: {part.note} (others: --window, --layers, --ranks)"
    return title + more if part.note else title


def _legend(ax: Axes, drawn: Chart) -> None:
    """Explain the styles in the order of `ORDER`, whatever the run met first."""
    patches = [
        Patch(
            facecolor=_face(style), edgecolor=_edge(style), hatch=style.hatch or None,
            label=_called(style, drawn.bars[style]),
        )
        for style in sorted(drawn.bars, key=ORDER.index)
    ]  # fmt: skip
    ax.legend(
        handles=patches, loc="upper left", bbox_to_anchor=(1.01, 1.0), borderaxespad=0,
        frameon=False, fontsize=8,
    )  # fmt: skip


def _called(style: Style, bars: list[Bar]) -> str:
    """Return a style's name, with what it moves where that is communication."""
    collectives = {bar.op.message.collective for bar in bars if bar.op and bar.op.message}
    lanes = {_lane(bar) for bar in bars}
    if not collectives:
        return style.name
    return f"{', '.join(sorted(collectives))} ({', '.join(sorted(lanes))})"


def _lane(bar: Bar) -> str:
    """Return what a communicator is for; of rows of experts, which way they go."""
    name = bar.row.name.rpartition("/")[2]
    return bar.op.label if name == EXPERTS and bar.op else name
