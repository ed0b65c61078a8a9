"""Winner map: which strategy is best where, over two axes, and where that changes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.lines import Line2D

from tspsim.files.errors import UserError
from tspsim.output.plots.style import DARK, axes
from tspsim.output.plots.titles import set_title
from tspsim.reports.maps import grid
from tspsim.reports.maps.choose import SEQUENCE, Asked, Chosen, choose
from tspsim.reports.maps.rule import batch, rule
from tspsim.reports.maps.scale import tokens
from tspsim.sweeps.contest import apart
from tspsim.sweeps.store import Row, Store

#: A lead below this fraction is written as none.
EQUAL = 0.0005
#: How much lead gives a cell its full colour, and the colour of one without any lead.
FULL, PALE = 0.25, 0.45
#: Of more groups than this, the pale colour of one may be taken for the full one of another.
TINTED = 4
RULE = (0, (4, 2))
#: Figures that are as far off as the step time is.
SPEEDS = ("tokens_per_second", "tokens_per_second_per_device", "step_time")


def chosen(store: Store, asked: Asked) -> Chosen:
    """Return what is drawn."""
    found = choose(store, asked, 2)
    if len(found.looks) < 2:
        raise UserError(
            "a winner map needs two or more that compete: strategy.kind=tsp,tp, or --by"
        )
    return found


def plot(
    store: Store,
    ax: Axes | None = None,
    *,
    x: str | None = None,
    y: str | None = None,
    value: str | None = None,
    by: str | None = None,
    at: Mapping[str, Any] | None = None,
) -> Axes:
    """Draw which group is best at every point of two axes, and by how much.

    A cell is a simulated point: in the colour and with the marker of the best group that fits, and
    with its lead over the second. The black line is where the lead changes hands, interpolated
    between the points (in the logarithm, on logarithmic axes). The dashed line is the paper's rule,
    where the sequence length is an axis and TSP and TP compete; see `tspsim.reports.maps.rule`.

    Parameters
    ----------
    store : Store
    ax : Axes, optional
        Where to draw; a new figure when not given.
    x, y : str, optional
        The axes; the sequence length and the next one when not given.
    value : str, optional
        What to be best in: a column of the table; tokens per second and device when not given.
    by : str, optional
        What competes, comma-separated; strategies when not given.
    at : Mapping, optional
        Which value of every other axis.

    Raises
    ------
    UserError
        When the sweep has no such axis, value or figure, an axis is left, or nothing competes.
    """
    found = chosen(store, Asked(x, y, value, by, at)).alone()
    ax = axes(ax, 7.5, 4.6)
    handles = _cells(ax, found)
    handles += _crossovers(ax, found)
    grid.limits(ax, found.scales)
    handles += _rule(ax, found)
    set_title(ax, found.title)
    best = f"best {found.figure.title.partition(' [')[0]},\nand its lead over the second"
    ax.legend(
        handles=handles, title=best, title_fontsize=8, alignment="left", loc="upper left",
        bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8,
    )  # fmt: skip
    return ax


def _cells(ax: Axes, found: Chosen) -> list[Artist]:
    """Draw the cells; return what explains them."""
    states, draws = set(), 0
    for place, rows in found.cells().items():
        best = found.best(rows)
        if not best:
            states.add(grid.hatch(ax, found.scales, place, rows))
            continue
        group, lead = _winner(found, best)
        colour = _colour(found, group, lead)
        grid.fill(ax, found.scales, place, colour)
        grid.mark(ax, found.scales, place, found.looks[group].marker, colour)
        draw = _is_draw(found, best[group], best.values())
        grid.write(ax, found.scales, place, f"{'≈ ' if draw else ''}{_told(lead)}", colour)
        draws += draw
    ran = {found.group(row) for row in found.rows if row.figures}
    compete = [
        Line2D([], [], ls="", marker=look.marker, ms=8, mew=0, color=look.colour, label=name)
        for name, look in found.looks.items()
        if name in ran
    ]
    said = [Line2D([], [], ls="", label="≈: a draw, within the difference's error")]
    return [*compete, *map(grid.hatch_patch, sorted(states)), *(said if draws else [])]


def _winner(found: Chosen, best: Mapping[str, Row]) -> tuple[str, float | None]:
    """Return the best group, and by which fraction it leads; None: it is alone."""
    row = found.figure.best(best.values())
    group = next(name for name, each in best.items() if each is row)
    others = [each for each in best.values() if each is not row]
    if not others:
        return group, None
    second = found.figure.best(others)
    return group, found.figure.gain(found.figure.of(row), found.figure.of(second))


def _is_draw(found: Chosen, first: Row, best: Iterable[Row]) -> bool:
    """Whether the fastest cannot be told from another; of other figures nothing is said."""
    if found.figure.name not in SPEEDS:
        return False
    known = (apart(first, row) for row in best if row is not first)
    return any(each is not None and each.draw for each in known)


def _told(lead: float | None) -> str:
    if lead is None:
        return "alone"
    if lead < EQUAL:
        return "="
    return f"+{100 * lead:.{0 if lead >= 0.1 else 1}f} %"


def _colour(found: Chosen, group: str, lead: float | None) -> grid.Colour:
    """Return the colour of a cell, which is the paler the smaller the lead is."""
    tinted = lead is not None and len(found.looks) <= TINTED
    strength = PALE + (1 - PALE) * min((lead or 0.0) / FULL, 1) if tinted else 1.0
    red, green, blue = (1 - strength * (1 - part) for part in to_rgb(found.looks[group].colour))
    return red, green, blue


def _crossovers(ax: Axes, found: Chosen) -> list[Artist]:
    """Draw the lines on which the two best groups are equally good.

    What does not fit loses by infinity: where the lead changes for want of memory, the border of
    the cells says it, and no line between them.
    """
    if not all(scale.numeric and len(scale.places) > 1 for scale in found.scales):
        return []
    shape = tuple(len(scale.places) for scale in found.scales)
    fields = {name: np.full(shape, np.nan) for name in found.looks}
    for place, rows in found.cells().items():
        for name, row in found.best(rows).items():
            value = np.log(max(found.figure.of(row), 1e-300))
            fields[name][place] = value if found.figure.more else -value
    drawn = grid.crossovers(ax, found.scales, list(fields.values()))
    label = "equally good, interpolated between the cells"
    return [Line2D([], [], color="black", lw=2, label=label)] if drawn else []


def _rule(ax: Axes, found: Chosen) -> list[Artist]:
    """Lay the paper's rule over a map that has the sequence on an axis."""
    keys = [scale.key for scale in found.scales]
    law = rule(found.store, found.rows)
    if SEQUENCE not in keys or law is None or not _compete(found):
        return []
    along = keys.index(SEQUENCE)
    other = found.scales[1 - along]
    sequences = batch(found.store, found.rows)
    if other.key == "workload.batch":
        ends = other.edges()
        many = np.geomspace(max(ends[0], 0.5), ends[-1], 100)
        places = law.tokens / many, many
    elif sequences is None:
        return []
    else:
        places = np.full(2, law.tokens / sequences), other.edges()[[0, -1]]
    first, last = found.scales[along].edges()[[0, -1]]
    if not np.any((places[0] >= first) & (places[0] <= last)):
        return []
    ax.plot(*(places if along == 0 else places[::-1]), color=DARK, ls=RULE, lw=1.8)
    at = "" if sequences is None else f" (S > {tokens(round(law.tokens / sequences))})"
    label = f"the paper's rule {law.text}{at}:\nTSP moves fewer bytes than TP"
    return [Line2D([], [], color=DARK, ls=RULE, lw=1.8, label=label)]


def _compete(found: Chosen) -> bool:
    """Say whether both strategies that the rule compares are among those that ran."""
    meshes = {str(row.figures["mesh"]).split(" ")[0] for row in found.rows if row.figures}
    return {"tsp", "tp"} <= meshes
