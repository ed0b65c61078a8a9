"""Heatmap: one figure over two axes of a sweep; what does not fit the memory is hatched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import LogLocator

from tspsim.output.plots.style import axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title
from tspsim.reports.maps import grid
from tspsim.reports.maps.choose import Asked, Chosen, choose
from tspsim.sweeps.store import Store

#: The largest value over the smallest one, from which colours follow the logarithm.
LOG_FROM = 20
#: Even to the eye, in grey too, and for people with any kind of colour vision.
COLOURS = "cividis"


def chosen(store: Store, asked: Asked) -> Chosen:
    """Return what is drawn."""
    return choose(store, asked, 2, grouped=False)


def plot(
    store: Store,
    ax: Axes | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str | None = None,
    at: Mapping[str, Any] | None = None,
    bar: bool = True,
) -> Axes:
    """Draw a figure as the colour of a cell at every point of two axes.

    Parameters
    ----------
    store : Store
    ax : Axes, optional
        Where to draw; a new figure when not given.
    x, y : str, optional
        The axes; the sequence length and the next one when not given.
    value : str, optional
        A column of the table; tokens per second and device when not given.
    at : Mapping, optional
        Which value of every other axis, and which ``mesh``.
    bar : bool
        Whether to draw the bar that explains the colours.

    Raises
    ------
    UserError
        When the sweep has no such axis, value or figure, or an axis is left.
    """
    found = chosen(store, Asked(x=x, y=y, value=value, at=at)).alone()
    ax = axes(ax, 7.5, 4.6)
    shades = ScalarMappable(_norm(found), COLOURS)
    states = _cells(ax, found, shades)
    grid.limits(ax, found.scales)
    if bar:
        colours = ax.figure.colorbar(shades, ax=ax, label=found.figure.title)
        if isinstance(shades.norm, LogNorm):
            colours.ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        plain_ticks(colours.ax.yaxis)
    set_title(ax, found.title)
    if states:
        ax.legend(handles=[*map(grid.hatch_patch, sorted(states))], loc="upper left",
                  bbox_to_anchor=(0, -0.16), frameon=False, fontsize=8)  # fmt: skip
    return ax


def _cells(ax: Axes, found: Chosen, shades: ScalarMappable) -> set[str]:
    """Draw the cells; return what is hatched."""
    states = set()
    for place, rows in found.cells().items():
        fitting = [row for row in rows if row.status == "ok"]
        if not fitting:
            states.add(grid.hatch(ax, found.scales, place, rows))
            continue
        value = found.figure.of(found.figure.best(fitting))
        red, green, blue, _ = shades.to_rgba(np.array(value))
        grid.fill(ax, found.scales, place, (red, green, blue))
        grid.write(ax, found.scales, place, f"{value:,.{_digits(value)}f}", (red, green, blue))
    return states


def _norm(found: Chosen) -> Normalize:
    """Return how values become colours: the same for all maps of a sweep."""
    values = [found.figure.of(row) for row in found.store.rows() if row.status == "ok"] or [0.0]
    low, high = min(values), max(values)
    if low > 0 and high / low > LOG_FROM:
        return LogNorm(low, high)
    return Normalize(low, high if high > low else low + 1)


def _digits(value: float) -> int:
    return 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
