"""Cells of a map: their borders, their hatches, and the lines between their centres."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Patch, Rectangle
from matplotlib.transforms import offset_copy
from numpy.typing import NDArray

from tspsim.output.plots.paper import LEAST, asked
from tspsim.output.plots.roomy import Roomy
from tspsim.output.plots.style import GREY
from tspsim.reports.maps.scale import Scale
from tspsim.sweeps.store import Row

#: Points between two neighbouring centres at which a field is interpolated.
FINE = 24
#: Cells along x beyond which numbers in them cannot be read.
READABLE = 12
#: Ground darker than this is written on in white.
DARK_GROUND = 0.45
#: Red, green, blue, from 0 to 1.
Colour = tuple[float, float, float]
_UNFIT, _INVALID = "xxxx", "...."


def rectangle(scales: Sequence[Scale], place: tuple[int, int]) -> tuple[float, float, float, float]:
    """Return left, bottom, width and height of a cell."""
    left, right = scales[0].edges()[place[0] : place[0] + 2]
    bottom, top = scales[1].edges()[place[1] : place[1] + 2]
    return float(left), float(bottom), float(right - left), float(top - bottom)


def fill(ax: Axes, scales: Sequence[Scale], place: tuple[int, int], colour: Colour) -> None:
    """Fill a cell with a colour."""
    left, bottom, width, height = rectangle(scales, place)
    ax.add_patch(
        Rectangle((left, bottom), width, height, facecolor=colour, edgecolor="white", lw=0.8)
    )


def hatch(ax: Axes, scales: Sequence[Scale], place: tuple[int, int], rows: Iterable[Row]) -> str:
    """Hatch a cell in which nothing fits or nothing can run; return which."""
    state = "nothing fits" if any(row.status == "unfit" for row in rows) else "nothing can run"
    left, bottom, width, height = rectangle(scales, place)
    ax.add_patch(Rectangle((left, bottom), width, height, **_hatched(state)))  # type: ignore[arg-type]
    return state


def hatch_patch(state: str) -> Patch:
    """Return the legend's entry of a hatch."""
    return Patch(**_hatched(state), label=state)  # type: ignore[arg-type]


def _hatched(state: str) -> dict[str, object]:
    pattern = _UNFIT if state == "nothing fits" else _INVALID
    return {"facecolor": "#F2F2F2", "edgecolor": GREY, "hatch": pattern, "lw": 0.8}


def write(
    ax: Axes, scales: Sequence[Scale], place: tuple[int, int], text: str, ground: Colour
) -> None:
    """Write into a cell of a colour, where cells are large enough and the text has room."""
    if not readable(scales):
        return
    # The line of a crossover or of the rule may run through the middle of a cell.
    around = {"facecolor": ground, "edgecolor": "none", "pad": 0.8}
    colour = _ink(ground)
    x, y = (scale.middle(index) for scale, index in zip(scales, place, strict=True))
    left, _, width, _ = rectangle(scales, place)
    size = 7.0 if asked() is None else LEAST
    ends = left, left + width
    ax.add_artist(Roomy(ends, y, text, x, 1.0, fontsize=size, color=colour, zorder=5, bbox=around))


def mark(
    ax: Axes, scales: Sequence[Scale], place: tuple[int, int], marker: str, ground: Colour
) -> None:
    """Draw a group's marker into the corner of a cell, where cells are large enough.

    In print without colour it tells whose cell it is.
    """
    if readable(scales):
        left, bottom, _, height = rectangle(scales, place)
        inside = offset_copy(ax.transData, ax.figure, x=4.5, y=-4.5, units="points")  # type: ignore[arg-type]
        ax.scatter(left, bottom + height, marker=marker, s=10, lw=0, color=_ink(ground),
                   transform=inside, zorder=6)  # fmt: skip


def readable(scales: Sequence[Scale]) -> bool:
    """Say whether what is written into cells can be read."""
    return max(len(scale.places) for scale in scales) <= READABLE


def _ink(ground: Colour) -> str:
    """Return what to write with on a colour."""
    return "white" if _luminance(ground) < DARK_GROUND else "black"


def _luminance(colour: Colour) -> float:
    """Return roughly how bright a colour is, from 0 to 1."""
    red, green, blue = colour
    return 0.3 * red + 0.59 * green + 0.11 * blue


def limits(ax: Axes, scales: Sequence[Scale]) -> None:
    """Set up both axes so that they end with the outer cells."""
    scales[0].dress(ax, "x")
    scales[1].dress(ax, "y")
    ax.set_xlim(scales[0].edges()[0], scales[0].edges()[-1])
    ax.set_ylim(scales[1].edges()[0], scales[1].edges()[-1])
    ax.tick_params(length=0 if not scales[0].numeric else 3)


def crossovers(ax: Axes, scales: Sequence[Scale], fields: Sequence[NDArray[np.float64]]) -> bool:
    """Draw where the largest of several fields changes; say whether it does.

    Fields are interpolated between the centres of the cells, evenly on the page.

    Parameters
    ----------
    ax : Axes
    scales : sequence of Scale
    fields : sequence of array of shape (x, y)
        NaN where there is no value: no line is drawn next to it.
    """
    evens = [scale.even for scale in scales]
    fine = [_fine(even) for even in evens]
    smooth = [_along(_along(field, evens[0], fine[0]).T, evens[1], fine[1]) for field in fields]
    x, y = (scale.back(places) for scale, places in zip(scales, fine, strict=True))
    drawn = False
    for one, other in combinations(range(len(smooth)), 2):
        margin = smooth[one] - smooth[other]
        for third in set(range(len(smooth))) - {one, other}:
            # Where a third one is larger than both, it does not matter which of the two is.
            margin[smooth[third] > np.fmax(smooth[one], smooth[other])] = np.nan
        if np.nanmin(margin, initial=np.inf) < 0 < np.nanmax(margin, initial=-np.inf):
            ax.contour(x, y, np.ma.masked_invalid(margin), levels=[0.0], colors="black",
                       linewidths=2)  # fmt: skip
            drawn = True
    return drawn


def _fine(even: NDArray[np.float64]) -> NDArray[np.float64]:
    steps = np.arange(FINE * (len(even) - 1) + 1) / FINE
    return np.interp(steps, np.arange(len(even)), even)


def _along(
    field: NDArray[np.float64], at: NDArray[np.float64], fine: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return a field between the places of its first axis; next to NaN it is NaN."""
    return np.stack([np.interp(fine, at, column) for column in field.T], axis=-1)
