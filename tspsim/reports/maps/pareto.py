"""Pareto front: throughput against peak memory, and the points that nothing beats in both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tspsim.output.plots.style import DARK, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title
from tspsim.reports.maps.choose import Asked, Chosen, choose
from tspsim.reports.maps.groups import STRATEGY, varying
from tspsim.reports.maps.scale import written
from tspsim.sweeps.store import Row, Store

#: Sections of a scenario that say how the work is done; other axes say what work it is, and on
#: what, and points that differ in them do not compete.
HOW = frozenset({"strategy", "network", "optimizer"})
_HOW_KEYS = frozenset({"workload.recompute", "workload.micro_batches", "workload.logits_chunks"})


def chosen(store: Store, asked: Asked) -> Chosen:
    """Return what is drawn."""
    found = choose(store, asked, 0)
    left = tuple(key for key in found.left if not _is_how(key))
    return replace(found, left=left)


def plot(
    store: Store,
    ax: Axes | None = None,
    *,
    value: str | None = None,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw every point of a sweep by its peak memory and a figure, and the front of the best.

    On the front is what fits, and what no other point that fits beats in one without being worse
    in the other.

    Parameters
    ----------
    store : Store
    ax : Axes, optional
        Where to draw; a new figure when not given.
    value : str, optional
        A column of the table; tokens per second and device when not given.
    by : str, optional
        What has a colour each, comma-separated; strategies when not given.
    at : Mapping, optional
        Which value of the axes that say what work is done: points that differ in them do not
        compete.

    Raises
    ------
    UserError
        When the sweep has no such axis, value or figure, or an axis is left.
    """
    found = chosen(store, Asked(value=value, by=by, at=at)).alone()
    ax = axes(ax, 7.5, 4.6)
    rows = [row for row in found.rows if row.figures]
    handles = _points(ax, found, rows)
    best = front(found, rows)
    if best:
        xs, ys = zip(*((_memory(row), found.figure.of(row)) for row in best), strict=True)
        # Between two points of the front the better figure costs the larger memory: a stair.
        ax.step(xs, ys, where="post", color=DARK, lw=1.2, zorder=2)
        handles.append(Line2D([], [], color=DARK, lw=1.2, label="nothing is better in both"))
    _dress(ax, found, best)
    ax.legend(handles=handles, loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0,
              frameon=False, fontsize=8)  # fmt: skip
    return ax


def front(found: Chosen, rows: Sequence[Row]) -> list[Row]:
    """Return the rows that fit and that none beats, by increasing memory."""
    sign = -1 if found.figure.more else 1
    fitting = [row for row in rows if row.status == "ok"]
    best: list[Row] = []
    for row in sorted(fitting, key=lambda row: (_memory(row), sign * found.figure.of(row))):
        if not best or sign * found.figure.of(row) < sign * found.figure.of(best[-1]):
            best.append(row)
    return best


def _is_how(key: str) -> bool:
    return key.split(".")[0] in HOW or key in _HOW_KEYS


def _memory(row: Row) -> float:
    """Return the peak memory in GiB."""
    return float(row.figures["memory.peak"]) / 2**30


def _points(ax: Axes, found: Chosen, rows: Sequence[Row]) -> list[Line2D]:
    """Draw the points of every group, hollow where they do not fit; return what explains them."""
    groups: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[found.group(row)].append(row)
    handles = []
    for name, look in found.looks.items():
        for fits in (True, False):
            some = [row for row in groups[name] if (row.status == "ok") == fits]
            ax.plot(
                [_memory(row) for row in some], [found.figure.of(row) for row in some], ls="",
                color=look.colour, marker=look.marker if fits else "x", ms=7, zorder=3,
                mec="white" if fits else look.colour, mew=0.6 if fits else 1.6,
            )  # fmt: skip
        if groups[name]:
            handles.append(Line2D([], [], ls="", color=look.colour, marker=look.marker, label=name))
    if any(row.status != "ok" for row in rows):
        handles.append(
            Line2D([], [], ls="", color=DARK, marker="x", mew=1.6, label="out of memory")
        )
    return handles


def _dress(ax: Axes, found: Chosen, best: Sequence[Row]) -> None:
    hows = filter(_is_how, varying(found.rows, (info.key for info in found.store.axes)))
    told = [key for key in hows if key not in (*found.by, *STRATEGY)]
    for row in best:
        words = [written(row.axes[key]) for key in told if row.axes.get(key) is not None]
        ax.annotate(", ".join(words), (_memory(row), found.figure.of(row)), (6, -9),
                    textcoords="offset points", fontsize=7, color=DARK)  # fmt: skip
    ax.set_xlim(0, 1.08 * ax.get_xlim()[1])
    ax.set_ylim(0, 1.08 * ax.get_ylim()[1])
    plain_ticks(ax.xaxis, ax.yaxis)
    ax.set_xlabel("peak memory of a device [GiB]")
    ax.set_ylabel(found.figure.title)
    set_title(ax, found.title)
    ax.grid(alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
