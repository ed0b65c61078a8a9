"""Tornado: how much the step time moves when one constant of the hardware changes.

Not a plot of a result alone: it is drawn of what `tspsim.explain.whatif` simulated.
"""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from tspsim.explain.explanation import WhatIf
from tspsim.explain.whatif import FACTORS, Sensitivity
from tspsim.output.plots.style import BLUE, DARK, GREEN, GREY, ORANGE, axes
from tspsim.output.units import step_time
from tspsim.reports.what_if import constant_name, constant_value

#: Colour of every factor: slower parts, faster ones, twice as fast ones.
COLOURS = (ORANGE, GREEN, BLUE)
#: Inches of a constant's row, and of everything around the rows.
ROW, AROUND = 0.6, 1.6
#: A change of the step time below this many percent is written as none.
NONE = 0.05


def tornado(found: WhatIf, title: str, ax: Axes | None = None) -> Axes:
    """Draw the change of the step time for every constant and factor, the largest on top.

    Parameters
    ----------
    found : WhatIf
    title : str
        Name of the scenario.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    """
    rows = [s for s in found.sensitivities if s.constant.key != "memory"]
    ax = axes(ax, 9.0, AROUND + ROW * max(len(rows), 1))
    changes = [_changes(each, found.base.step_time) for each in rows]
    _bars(ax, changes)
    ax.set_yticks(range(len(rows)), [_label(each) for each in rows], fontsize=9)
    ax.invert_yaxis()
    ax.axvline(0, color=DARK, lw=1)
    every = [*_draws(ax, found), *(change for row in changes for change in row)]
    margin = 0.15 * ((max(every) - min(every)) or 1.0)
    ax.set_xlim(min(every) - margin, max(every) + margin)
    now = step_time(found.base.step_time, found.interval)
    ax.set_xlabel(f"change of the step time [%]; left is faster; now {now}")
    ax.set_title(
        f"{title}: what if one constant of the hardware were different?", loc="left", fontsize=10
    )
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8
    )
    return ax


def _draws(ax: Axes, found: WhatIf) -> tuple[float, float]:
    """Shade the changes that are smaller than their error; return between which they lie."""
    known = found.apart(found.base.step_time)
    if known is None:
        return 0.0, 0.0
    low, high = (100 * (end - 1) for end in (known.low, known.high))
    label = f"a draw: less than {high:.1f} %,\nwhat two runs are told apart by"
    ax.axvspan(low, high, color=GREY, alpha=0.35, lw=0, zorder=0, label=label)
    return low, high


def _bars(ax: Axes, changes: Sequence[Sequence[float]]) -> None:
    height = 0.8 / len(FACTORS)
    for number, (factor, colour) in enumerate(zip(FACTORS, COLOURS, strict=True)):
        places = [row - 0.4 + (number + 0.5) * height for row in range(len(changes))]
        values = [change[number] for change in changes]
        ax.barh(places, values, height=0.9 * height, color=colour, label=_said(factor))
        for place, value in zip(places, values, strict=True):
            text = "no change" if abs(value) < NONE else f"{value:+.1f} %".replace("-", "−")
            right = value > NONE
            ax.annotate(
                text, (value, place), (4 if right else -4, 0), textcoords="offset points",
                ha="left" if right else "right", va="center", fontsize=7, color=DARK,
            )  # fmt: skip


def _said(factor: float) -> str:
    """Return what becomes of the constant."""
    if factor >= 2:
        return f"{factor:g} times as much"
    return f"{100 * abs(factor - 1):.0f} % {'more' if factor > 1 else 'less'}"


def _changes(found: Sensitivity, before: float) -> list[float]:
    """Return the change of the step time in percent, by factor."""
    return [100 * (o.step_time / before - 1) if before else 0.0 for _, o in found.replays]


def _label(found: Sensitivity) -> str:
    return f"{constant_name(found.constant)}\n{constant_value(found.constant)}"
