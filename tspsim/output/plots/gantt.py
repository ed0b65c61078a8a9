"""Gantt chart: what every rank computes and moves, and where it waits."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from textwrap import fill
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from tspsim.engine.timeline import Timeline
from tspsim.mesh import PP
from tspsim.output.passes import named, stages_of
from tspsim.output.plots import density
from tspsim.output.plots.bars import Bar, Chart, Row, chart, heights
from tspsim.output.plots.layers import Page, every_layer, some_layers, strips
from tspsim.output.plots.paper import asked
from tspsim.output.plots.phases import LOOKS
from tspsim.output.plots.roomy import Roomy
from tspsim.output.plots.style import (
    BLACK,
    BLUE,
    GREEN,
    INDIGO,
    ORDER,
    WINE,
    Style,
    axes,
    edge_of,
    face_of,
    style_of,
)
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import Window, choose
from tspsim.output.units import step_time, time_unit
from tspsim.program.by_expert import EXPERTS

if TYPE_CHECKING:
    from tspsim.result import Result

#: Inches of a new figure.
WIDTH = 12.0
#: Vector files with more bars than this hold them as a picture.
MANY = 10_000
#: Points of the edges of bars, and of a bar beside which they are no longer thin.
EDGE, THIN = 0.3, 1.0
#: Texts in bars beyond this say nothing more, and are slow.
TEXTS = 400
#: What is written on these is white.
DARK_GROUNDS = (BLUE, GREEN, BLACK, INDIGO, WINE)
#: Letters of a line of the legend.
LONG = 34
#: What a chart of shares says about itself.
DENSE = "Heights: share of the time, where tasks are too short to be seen"
#: And how to see them: what a screen says beside that, for print cannot be asked for more.
ZOOM = "; zoom: --window START:END"


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
    run of many tasks is cut to a few layers in its middle; where a window is asked for in which
    tasks are narrower than a pixel, the share of the time is drawn that each class of them takes.

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
        The ranks to draw, from top to bottom; the first eight when not given. In a paper's column
        four of these, from the one that computes least to the one that computes most.

    Raises
    ------
    UserError
        When the window, a layer or a rank lies outside of the run.
    """
    part = choose(result, window, layers, ranks)
    drawn = chart(result.timeline, part)
    ax = axes(ax, WIDTH, drawn.height + 1.2, rows=True)
    scale, unit = time_unit(part.end)
    page = Page(ax.get_window_extent().width / ax.figure.dpi, scale)
    dense = density.is_dense(drawn, page.inches)
    phases = (_densely if dense else _one_by_one)(ax, drawn, result.timeline, part, page)
    _dress(ax, drawn, result.timeline)
    ax.set_xlim(part.start / scale, part.end / scale)
    # In a column names of rows may leave axes narrower than this text, which then begins there.
    time = f"time since the start of the step [{unit}]"
    ax.set_xlabel(time, loc="center" if asked() is None else "right")
    set_title(ax, _title(result, part, dense), pad=26 if phases else 16)
    _legend(ax, drawn, phases)
    return ax


def _one_by_one(
    ax: Axes, drawn: Chart, timeline: Timeline, part: Window, page: Page
) -> Iterable[str]:
    """Draw every bar, with lines where layers begin."""
    ax.set_ylim(0, drawn.height)
    every_layer(ax, drawn, timeline, part, page)
    many = sum(map(len, drawn.bars.values())) > MANY
    for style, bars in drawn.bars.items():
        points = 72 * page.inches / (part.end - part.start)
        ax.add_collection(_collection(style, bars, page.scale, points, many))
    _write_in_bars(ax, drawn, page.scale)
    return ()


def is_dense(ax: Axes) -> bool:
    """Say whether axes hold shares of the time in place of tasks."""
    return DENSE in ax.get_title(loc="left").replace("\n", " ")


def _densely(ax: Axes, drawn: Chart, timeline: Timeline, part: Window, page: Page) -> Iterable[str]:
    """Draw the share of each class; return the phases that are marked."""
    ax.set_ylim(0, drawn.height + heights().space)
    if len(timeline.programs.roles) == 1:
        some_layers(ax, timeline, part, page)
    for shares in density.collections(drawn, part, page.inches, page.scale):
        ax.add_collection(shares)
    return strips(ax, drawn, timeline, part, page)


def _collection(
    style: Style, bars: list[Bar], scale: float, points: float, many: bool
) -> PolyCollection:
    """Return the bars of one style as one artist: thousands of artists would take minutes.

    A second is so many points wide. Of a bar that is hardly wider than the edges between bars,
    pale ones would leave nothing: its own are of its colour.
    """
    x = np.array([(bar.start / scale, bar.end / scale) for bar in bars])
    y = np.array([(bar.row.bottom, bar.row.bottom + bar.row.height) for bar in bars])
    corners = np.stack([x[:, [0, 0, 1, 1]], y[:, [0, 1, 1, 0]]], axis=-1)
    thin = (x[:, 1] - x[:, 0]) * scale * points < THIN
    edges = [style.colour if each and not style.hatch else edge_of(style) for each in thin]
    return PolyCollection(
        corners,  # type: ignore[arg-type]
        facecolors=face_of(style), edgecolors=edges, hatch=style.hatch or None,
        linewidths=0.0 if style.hatch else EDGE, rasterized=many, label=style.name,
    )  # fmt: skip


def _write_in_bars(ax: Axes, drawn: Chart, scale: float) -> None:
    """Write into bars that are wide enough what they are."""
    texts = [(bar, _bar_text(bar)) for bars in drawn.bars.values() for bar in bars if bar.op]
    texts = [(bar, text) for bar, text in texts if text]
    texts.sort(key=lambda each: each[0].start - each[0].end)
    for bar, text in texts[:TEXTS]:
        dark = bar.op is not None and style_of(bar.op).colour in DARK_GROUNDS
        ends = bar.start / scale, bar.end / scale
        y = bar.row.bottom + 0.47 * bar.row.height
        ax.add_artist(Roomy(ends, y, text, fontsize=6, color="white" if dark else "black"))


def _bar_text(bar: Bar) -> str:
    """Return the root of a broadcast, and of any other task its label."""
    if bar.op is None:
        return ""
    if bar.op.message is not None and bar.op.message.root is not None:
        return f"from {bar.op.message.root}"
    return bar.op.label


def _dress(ax: Axes, drawn: Chart, timeline: Timeline) -> None:
    """Name the rows and take away what only distracts."""
    plain_ticks(ax.xaxis)
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
    rank = named(row.rank, stages)
    return f"{rank}  {row.name}" if asked() is None else rank  # print has no room for more


def step_of(result: Result) -> str:
    """Return a run's step time as a title has it: with where it lies, if that is known."""
    return step_time(result.timeline.step_time, result.summary.to_dict()["interval"])


def _title(result: Result, part: Window, dense: bool) -> str:
    title = titled(result, f"step {step_of(result)}")
    screen = asked() is None
    if part.note:
        title += f". Shown: {part.note}"
        title += " (others: --window, --layers, --ranks)" if screen else ""
    if part.cut and screen:
        title += "; the whole step: --window all"
    return f"{title}\n{DENSE}{ZOOM if screen else ''}" if dense else title


def _legend(ax: Axes, drawn: Chart, phases: Iterable[str]) -> None:
    """Explain the styles in the order of `ORDER`, and the strips of phases."""
    patches = [
        Patch(
            facecolor=face_of(style), edgecolor=edge_of(style), hatch=style.hatch or None,
            label=_called(style, drawn.bars[style]),
        )
        for style in sorted(drawn.bars, key=ORDER.index)
    ]  # fmt: skip
    strips = [Patch(**LOOKS[phase], label=phase) for phase in LOOKS if phase in phases]
    ax.legend(
        handles=[*patches, *strips], loc="upper left", bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0, frameon=False, fontsize=8,
    )  # fmt: skip


def _called(style: Style, bars: list[Bar]) -> str:
    """Return a style's name, with what it moves where that is communication."""
    collectives = {bar.op.message.collective for bar in bars if bar.op and bar.op.message}
    lanes = {_lane(bar) for bar in bars}
    if not collectives:
        return style.name
    return fill(f"{', '.join(sorted(collectives))} ({', '.join(sorted(lanes))})", LONG)


def _lane(bar: Bar) -> str:
    """Return what a communicator is for; of rows of experts, which way they go."""
    name = bar.row.name.rpartition("/")[2]
    return bar.op.label if name == EXPERTS and bar.op else name
