"""The waterfall of a step: from the ideal one to the real one, a row for every cause.

Not a plot of a result alone: it is drawn of what `tspsim.explain.why` found.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import fsum
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.axes import Axes

from tspsim.explain.why import Group, Part, Why
from tspsim.output.pictures import check_suffix, inches, save
from tspsim.output.plots.paper import paper, settle
from tspsim.output.plots.style import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILLION,
    WINE,
    YELLOW,
    axes,
)
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.units import share, time, time_unit
from tspsim.result import Result

COLOURS: dict[Group, str] = {
    "ideal": BLUE, "again": SKY, "kernels": ORANGE, "launch": YELLOW, "host": GREY,
    "slowed": PURPLE, "communication": GREEN, "bubble": VERMILLION, "uneven": PURPLE,
    "waiting": WINE,
}  # fmt: skip
#: Rows of a group at most, and the share of the step below which a part has none of its own.
MOST, LEAST = 5, 0.005
#: Inches of a row, and of everything around the rows.
ROW, AROUND = 0.27, 1.1


class Fall(NamedTuple):
    """A row: what it is called, and from when to when it reaches."""

    group: Group
    name: str
    start: float
    seconds: float

    @property
    def end(self) -> float:
        """Where the next one starts."""
        return self.start + self.seconds


def falls(step: Why) -> list[Fall]:
    """Return the rows, each from where the one before ends; small parts of a group are one."""
    found, moments = list[Fall](), list[float]()
    for part in _rows(step):
        found.append(Fall(part.group, part.said, fsum(moments), part.seconds))
        moments.append(part.seconds)
    return found


def _rows(step: Why) -> Iterator[Part]:
    for parts in step.groups.values():
        large = [p for p in parts if abs(p.seconds) >= LEAST * step.total or p.group == "ideal"]
        shown = large if len(large) == len(parts) <= MOST else large[: MOST - 1]
        yield from shown
        rest = parts[len(shown) :]
        if rest:
            name = rest[0].name if len(rest) == 1 else f"{len(rest)} others" if shown else ""
            yield Part(rest[0].group, name, fsum(part.seconds for part in rest))


def draw(result: Result, found: Why, path: Path, width: str | None = None) -> None:
    """Draw why a step takes longer than the ideal one, and save the picture.

    Parameters
    ----------
    result : Result
    found : Why
        Of the result.
    path : Path
    width : {"column", "page"}, optional
        For print: as wide as that of a paper.

    Raises
    ------
    UnknownNameError
        When print has no such width.
    OutputError
        When the suffix is none of a picture, or the file cannot be written.
    """
    check_suffix(path)
    with paper(inches(width)):
        drawn: Any = waterfall(result, found).figure
        if width:
            settle(drawn)
    save(drawn, path, f"why of {result.scenario.name}", exact=bool(width))


def waterfall(result: Result, found: Why, ax: Axes | None = None) -> Axes:
    """Draw a step as a waterfall, the ideal one on top and the real one at the bottom.

    Parameters
    ----------
    result : Result
    found : Why
        Of the result.
    ax : Axes, optional
        Where to draw; a new figure when not given.
    """
    rows = falls(found)
    ax = axes(ax, 9.0, AROUND + ROW * (len(rows) + 1))
    scale, unit = time_unit(found.total)
    for place, row in enumerate(rows):
        _bar(ax, place, row, found.total, COLOURS[row.group])
        if place + 1 < len(rows):
            ax.plot([row.end / scale] * 2, [place - 0.4, place + 1.4], color=DARK, lw=0.6)
    _bar(ax, len(rows), Fall("ideal", "", 0.0, found.total), found.total, DARK)
    ax.set_yticks(range(len(rows) + 1), [*(row.name for row in rows), "the step"], fontsize=9)
    ax.set_ylim(len(rows) + 0.6, -0.6)
    ax.set_xlim(0, 1.16 * found.total / scale or 1.0)
    ranks = f", mean of {found.ranks} ranks" if found.ranks > 1 else ""
    ax.set_xlabel(f"time of the step [{unit}]{ranks}")
    ideal = time(found.parts[0].seconds)
    title = f"why a step takes {time(found.total)}, not the ideal {ideal}"
    plain_ticks(ax.xaxis)
    set_title(ax, titled(result, title))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _bar(ax: Axes, place: int, row: Fall, whole: float, colour: str) -> None:
    """Draw a row, with its seconds and its share of the step beside it."""
    scale, _ = time_unit(whole)
    hatch = "///" if row.seconds < 0 else ""
    ax.barh(place, row.seconds / scale, 0.8, left=row.start / scale, color=colour, hatch=hatch)
    ax.annotate(
        said(row.seconds, whole), (max(row.start, row.end) / scale, place), (4, 0),
        textcoords="offset points", va="center", fontsize=8, color=DARK,
    )  # fmt: skip


def said(seconds: float, whole: float) -> str:
    """Return seconds in the unit of the whole step, with their share of it."""
    scale, unit = time_unit(whole)
    digits = 1 if whole / scale >= 100 else 2 if whole / scale >= 10 else 3
    text = f"{seconds / scale:,.{digits}f} {unit}"
    part = "" if seconds == whole else f", {share(seconds, whole)}"
    return f"{text}{part}".replace("-", "−")
