"""Draws a map of a sweep into a file: one, or one beside the other for an axis that is left."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.files.errors import UserError
from tspsim.output.pictures import check, draw_at
from tspsim.output.plots.legends import below
from tspsim.output.plots.paper import asked
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import wrapped
from tspsim.registry import MAPS
from tspsim.reports.maps.choose import Asked, values_of
from tspsim.sweeps.store import Store
from tspsim.sweeps.values import label

#: Maps beside each other at most, and inches of each.
MOST, WIDTH, HEIGHT = 9, 5.2, 4.3
#: Inches of one at least, in print.
NARROWEST, LOWEST = 3.0, 2.4


def draw(
    kind: str, store: Store, path: str | Path, *, width: str | None = None, **options: Any
) -> None:
    """Draw a map and save it.

    Parameters
    ----------
    kind : str
        ``lines``, ``heatmap``, ``winner``, ``pareto`` or a registered one.
    store : Store
    path : str or Path
        Its suffix, ``.png``, ``.svg``, ``.pdf`` or ``.html``, says the format.
    width : {"column", "page"}, optional
        For print: as wide as that of a paper.
    **options
        ``x``, ``y``, ``value``, ``by``, ``at``, as far as the map has them.

    Raises
    ------
    UserError
        When there is no such map, it has no such option, or the sweep cannot be drawn so.
    OutputError
        When the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    check(path)
    plot = MAPS.get(kind)
    foreign = [name for name in options if name not in inspect.signature(plot).parameters]
    if foreign:
        raise UserError(f"a {kind} map has no {' and no '.join(foreign)} to choose")
    draw_at(width, lambda: figure(kind, store, **options), path, f"{kind} of {store.name}")


def figure(kind: str, store: Store, **options: Any) -> Figure:
    """Return a figure with a map for every value of the axes that have no place on one.

    Where these are more than can be looked at, some values stand for the others, and it says so.

    Raises
    ------
    UserError
        When even two values of every axis are too many.
    """
    plot = MAPS.get(kind)
    places, left_out = _panels(kind, store, options)
    if len(places) == 1:
        only: Figure = plot(store, **options).figure
        return only
    whole, grid = _grid(len(places))
    columns = grid.shape[1]
    bars = "bar" in inspect.signature(plot).parameters
    for number, (ax, at) in enumerate(zip(grid.flat, places, strict=False), 1):
        # The bar of a heatmap holds for all maps beside it.
        more = {"bar": not number % columns or number == len(places)} if bars else {}
        plot(store, ax, **options | {"at": at} | more)
    for ax in list(grid.flat)[len(places) :]:
        ax.set_visible(False)
    panels = list(grid.flat)[: len(places)]
    if "x" in inspect.signature(plot).parameters:  # else points of other work, far from each other
        _same_axes(panels)
    below(whole, panels, 8)
    if left_out:
        text = wrapped(left_out, whole.get_figwidth(), 8)
        whole.suptitle(text, fontsize=8, x=0.01, ha="left")
    return whole


def _grid(count: int) -> tuple[Figure, Any]:
    """Return a figure with room for so many maps, and its axes by row and column."""
    columns = 2 if count == 4 else min(3, count)
    width = WIDTH
    if wide := asked():
        columns = min(columns, int(wide / NARROWEST))
        width = wide / columns
    rows = math.ceil(count / columns)
    size = width * columns, max(HEIGHT * width / WIDTH, LOWEST) * rows
    whole = Figure(figsize=size, layout="constrained")
    return whole, whole.subplots(rows, columns, squeeze=False)


def _panels(
    kind: str, store: Store, options: Mapping[str, Any]
) -> tuple[list[dict[str, Any]], str]:
    """Return the chosen values of every map, and which values have none, in words."""
    module = inspect.getmodule(MAPS.get(kind))
    chosen = getattr(module, "chosen", None)
    at = dict(options.get("at") or {})
    if chosen is None:  # a map from outside, which says itself what is left
        return [at], ""
    found = chosen(store, Asked(**options))
    every = {key: _values(found.rows, key) for key in found.left}
    some = _spread(every)
    maps = [at | dict(zip(some, values, strict=True)) for values in product(*some.values())]
    return maps, _left_out(every, some)


def _left_out(every: Mapping[str, list[Any]], some: Mapping[str, list[Any]]) -> str:
    """Return a line about the values that have no map; empty where all have one."""
    fewer = [key for key in every if len(some[key]) < len(every[key])]
    told = ", ".join(f"{len(some[key])} of {len(every[key])} values of {key}" for key in fewer)
    return f"{told}; the others: --at {fewer[0]}=..." if fewer else ""


def _spread(columns: Mapping[str, list[Any]]) -> dict[str, list[Any]]:
    """Return as many values of every axis as one page holds maps of: the ends, and some between."""
    counts = {key: len(values) for key, values in columns.items()}
    while math.prod(counts.values()) > MOST:
        longest = max(counts, key=counts.__getitem__)
        if counts[longest] == 2:
            raise _too_many(columns)
        counts[longest] -= 1
    return {key: _some(values, counts[key]) for key, values in columns.items()}


def _some(values: Sequence[Any], count: int) -> list[Any]:
    """Return so many of some values, spread evenly from the first to the last."""
    last = max(1, count - 1)
    return [values[round(place * (len(values) - 1) / last)] for place in range(count)]


def _too_many(columns: Mapping[str, Sequence[Any]]) -> UserError:
    told = ", ".join(f"{key} ({len(values)})" for key, values in columns.items())
    first, values = next(iter(columns.items()))
    return UserError(
        f"{math.prod(map(len, columns.values()))} maps, for every value of {told}; at most {MOST} "
        f"stand on one page: choose values, such as --at {first}={label(values[0])}"
    )


def _values(rows: Any, key: str) -> list[Any]:
    told = {label(row.cell(key)): row.cell(key) for row in rows if row.cell(key) is not None}
    assert set(told) == set(values_of(rows, key))
    return list(told.values())


def _same_axes(panels: list[Axes]) -> None:
    """Let all maps begin and end alike along both axes, so that eyes may compare."""
    if "log" in {ax.get_yscale() for ax in panels}:
        for ax in panels:
            if ax.get_yscale() != "log":  # its values span less than those of another one
                ax.set_yscale("log")
                plain_ticks(ax.yaxis)
                ax.set_ylim(bottom=0.9 * ax.dataLim.minposy)
    for limits, setter in (("get_xlim", "set_xlim"), ("get_ylim", "set_ylim")):
        ends = [getattr(ax, limits)() for ax in panels]
        for ax in panels:
            getattr(ax, setter)(min(low for low, _ in ends), max(high for _, high in ends))
