"""The waterfall of a step: from the ideal one to the real one, a row for every cause.

Not a plot of a result alone: it is drawn of what `tspsim.explain.why` found.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import fsum
from pathlib import Path
from typing import NamedTuple, cast

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.explain.why import Group, Part, Why
from tspsim.output.pictures import check, draw_at
from tspsim.output.plots.paper import asked
from tspsim.output.plots.style import (
    BLUE,
    DARK,
    GREEN,
    GREY,
    INDIGO,
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
    "slowed": PURPLE, "communication": GREEN, "bubble": VERMILLION, "uneven": INDIGO,
    "waiting": WINE,
}  # fmt: skip
#: Rows of a group at most, and the share of the step below which a part has none of its own.
MOST, LEAST = 5, 0.005
#: Inches of a row, of one whose name stands over its bar, and of everything around the rows.
ROW, HIGH, AROUND = 0.27, 0.25, 0.9
#: Height of a bar, and of one below its name, over that of the row.
THICK, THIN = 0.8, 0.4
#: Inches of width below which names stand over the bars.
WIDE = 5.0


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
    check(path)
    title = f"why of {result.scenario.name}"
    draw_at(width, lambda: cast(Figure, waterfall(result, found).figure), path, title)


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
    rows = [*falls(found), Fall("ideal", "the step", 0.0, found.total)]
    narrow = ax is None and (asked() or WIDE) < WIDE
    ax = axes(ax, 9.0, AROUND + (HIGH if narrow else ROW) * len(rows), rows=True)
    scale, unit = time_unit(found.total)
    _bars(ax, rows, found.total, THIN if narrow else THICK)
    for place, row in enumerate(rows):
        (_above if narrow else _beside)(ax, place, row, found.total)
    names = [] if narrow else [row.name for row in rows]
    ax.set_yticks(range(len(names)), names, fontsize=9)
    ax.set_ylim(len(rows) - 0.4, -0.8 if narrow else -0.6)
    ax.set_xlim(0, (1 if narrow else 1.16) * found.total / scale or 1.0)
    ranks = f", mean of {found.ranks} ranks" if found.ranks > 1 else ""
    ax.set_xlabel(f"time of the step [{unit}]{ranks}")
    ideal = amount(found.parts[0].seconds, found.total)
    title = f"why a step takes {time(found.total)}, not the ideal {ideal}"
    plain_ticks(ax.xaxis)
    set_title(ax, titled(result, title))
    ax.spines[["top", "right", "left"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def _bars(ax: Axes, rows: Sequence[Fall], whole: float, thick: float) -> None:
    """Draw the bars, the last one of the whole step; between thick ones where each begins."""
    scale, _ = time_unit(whole)
    for place, row in enumerate(rows):
        last = place + 1 == len(rows)
        ax.barh(
            place, row.seconds / scale, thick, left=row.start / scale,
            color=DARK if last else COLOURS[row.group], hatch="///" if row.seconds < 0 else "",
        )  # fmt: skip
        if thick == THICK and place + 2 < len(rows):
            ax.plot([row.end / scale] * 2, [place - 0.4, place + 1.4], color=DARK, lw=0.6)


def _beside(ax: Axes, place: int, row: Fall, whole: float) -> None:
    """Write a row's seconds and its share of the step behind its bar."""
    scale, _ = time_unit(whole)
    ax.annotate(
        said(row.seconds, whole), (max(row.start, row.end) / scale, place), (4, 0),
        textcoords="offset points", va="center", fontsize=8, color=DARK,
    )  # fmt: skip


def _above(ax: Axes, place: int, row: Fall, whole: float) -> None:
    """Write a row's name and its seconds over its bar, as wide as the picture."""
    for x, text, side in ((0, row.name, "left"), (1, said(row.seconds, whole), "right")):
        ax.text(
            x, place - 0.55 * THIN, text, ha=side, va="bottom", color=DARK, fontsize=6,
            transform=ax.get_yaxis_transform(),
        )  # fmt: skip


def amount(seconds: float, whole: float) -> str:
    """Return seconds in the unit of the whole step."""
    scale, unit = time_unit(whole)
    digits = 1 if whole / scale >= 100 else 2 if whole / scale >= 10 else 3
    return f"{seconds / scale:,.{digits}f} {unit}".replace("-", "−")


def said(seconds: float, whole: float) -> str:
    """Return seconds in the unit of the whole step, with their share of it."""
    part = "" if seconds == whole else f", {share(seconds, whole)}".replace("-", "−")
    return f"{amount(seconds, whole)}{part}"
