"""Lines: a figure along one axis, a line per strategy; what does not fit the memory is crossed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tspsim.output.plots.style import DARK, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title
from tspsim.reports.maps.choose import Asked, Chosen, choose
from tspsim.reports.maps.groups import Look
from tspsim.sweeps.store import Row, Store

#: A figure whose largest value is so many times its smallest is drawn on a logarithmic axis.
LOG_FROM = 30


def chosen(store: Store, asked: Asked) -> Chosen:
    """Return what is drawn."""
    return choose(store, asked, 1)


def plot(
    store: Store,
    ax: Axes | None = None,
    *,
    x: str | None = None,
    value: str | None = None,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw a figure along an axis of a sweep.

    Parameters
    ----------
    store : Store
    ax : Axes, optional
        Where to draw; a new figure when not given.
    x : str, optional
        The axis; the sequence length when not given.
    value : str, optional
        The figure, a column of the table; tokens per second and device when not given.
    by : str, optional
        What has a line each, comma-separated; strategies when not given.
    at : Mapping, optional
        Which value of every other axis.

    Raises
    ------
    UserError
        When the sweep has no such axis, value or figure, or an axis is left.
    """
    found = chosen(store, Asked(x=x, value=value, by=by, at=at)).alone()
    ax = axes(ax, 7.5, 4.6)
    lines: dict[str, list[Row]] = defaultdict(list)
    for row in found.rows:
        if row.figures and row.axes.get(found.scales[0].key) is not None:
            lines[found.group(row)].append(row)
    for group in found.looks:
        if group in lines:
            _line(ax, found, lines[group], found.looks[group])
    _dress(ax, found, [row for some in lines.values() for row in some])
    _legend(ax, found, lines)
    return ax


def _line(ax: Axes, found: Chosen, rows: Sequence[Row], look: Look) -> None:
    """Draw the points of a group that fit as a line; beyond, a thin line with crosses."""
    scale = found.scales[0]
    by_place: dict[int, list[Row]] = defaultdict(list)
    for row in rows:
        by_place[scale.place(row)].append(row)
    best: dict[int, Row] = {}
    for place in sorted(by_place):
        fitting = [row for row in by_place[place] if row.status == "ok"]
        best[place] = found.figure.best(fitting or by_place[place])
    xs = [scale.places[place] for place in best]
    ys = [found.figure.of(row) for row in best.values()]
    fits = [row.status == "ok" for row in best.values()]
    nan = float("nan")
    solid = [y if fit else nan for y, fit in zip(ys, fits, strict=True)]
    ax.plot(xs, ys, color=look.colour, lw=0.7, alpha=0.6, zorder=2)
    ax.plot(xs, solid, color=look.colour, ls=look.line, marker=look.marker, ms=5, lw=1.8, zorder=3)
    out = [(x, y) for x, y, fit in zip(xs, ys, fits, strict=True) if not fit]
    ax.plot(*zip(*out, strict=True) if out else ((), ()), color=look.colour, marker="x", ms=7,
            mew=1.8, ls="", zorder=4)  # fmt: skip


def _dress(ax: Axes, found: Chosen, rows: Sequence[Row]) -> None:
    found.scales[0].dress(ax, "x")
    values = [found.figure.of(row) for row in rows]
    if min(values) > 0 and max(values) / min(values) > LOG_FROM:
        ax.set_yscale("log")
    else:
        ax.set_ylim(bottom=0 if min(values) >= 0 else None)
    plain_ticks(ax.yaxis)
    ax.set_ylabel(found.figure.title)
    set_title(ax, found.title)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def _legend(ax: Axes, found: Chosen, lines: Mapping[str, Sequence[Row]]) -> None:
    handles = [
        Line2D([], [], color=look.colour, ls=look.line, marker=look.marker, ms=5, label=group)
        for group, look in found.looks.items()
        if group in lines
    ]
    if any(row.status == "unfit" for rows in lines.values() for row in rows):
        out = Line2D([], [], color=DARK, marker="x", ms=7, mew=1.8, lw=0.7, label="out of memory")
        handles.append(out)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
              frameon=False, fontsize=8)  # fmt: skip
