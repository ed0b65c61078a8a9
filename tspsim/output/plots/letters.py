"""Letters beside dots: each is placed when the picture is drawn, where it touches nothing."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backend_bases import RendererBase
from matplotlib.collections import PathCollection
from matplotlib.text import Annotation, Text
from numpy.typing import NDArray

from tspsim.output.plots.style import GREY

#: Points about a letter that nothing else takes.
ROOM = 5.0
#: Where letters may stand about their dot, in points: near it first.
PLACES = np.array(
    [
        (round(far * math.sin(turn)), round(far * math.cos(turn)))
        for far in (10, 15, 21, 28, 36)
        for turn in np.arange(0, 2 * math.pi, math.pi / 6)
    ]
)


class Taken(NamedTuple):
    """What letters keep away from: boxes from a corner to the other one, and a radius about each.

    All in points. Of a dot both corners are its middle.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    radius: NDArray[np.float64]

    def reached(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return by how many points a letter at each of some places would reach into these."""
        away = np.maximum(self.low - places[:, None], places[:, None] - self.high)
        gaps = np.hypot(*np.moveaxis(np.maximum(away, 0.0), -1, 0)) - self.radius
        found: NDArray[np.float64] = np.maximum(ROOM - gaps, 0.0).sum(axis=1)
        return found

    def also(self, low: NDArray[np.float64], high: NDArray[np.float64], radius: float) -> Taken:
        """Return it with some further boxes."""
        both = np.full(len(low), radius)
        return Taken(
            np.concatenate([self.low, low]),
            np.concatenate([self.high, high]),
            np.concatenate([self.radius, both]),
        )


class Letters(Artist):
    """Places the letters of axes; drawn before they are, when the axes have their final size.

    Until then nobody knows what lies where: a title, a legend or print change the size.

    Parameters
    ----------
    ax : Axes
        Its dots, its first line and its other texts are kept free.
    letters : sequence of (str, float, float)
        What is written, and the dot that it belongs to.
    """

    def __init__(self, ax: Axes, letters: list[tuple[str, float, float]]) -> None:
        super().__init__()
        self.set_zorder(-1)
        self.set_in_layout(False)
        self._placed = [_letter(ax, *letter) for letter in letters]
        ax.add_artist(self)

    def draw(self, renderer: RendererBase) -> None:
        """Place the letters; each draws itself."""
        assert self.axes is not None
        assert self.axes.figure is not None
        point = self.axes.figure.dpi / 72
        taken = self._around(renderer, point)
        inside = self.axes.bbox.get_points() / point
        for letter in self._placed:
            dot = self.axes.transData.transform(letter.xy) / point
            there = dot + PLACES
            beyond = np.maximum(inside[0] + ROOM - there, there - inside[1] + ROOM)
            crowded = taken.reached(there) + np.maximum(beyond, 0.0).sum(axis=1)
            best = there[[int(np.argmin(crowded))]]  # the first of equals, which is the nearest
            letter.set_position(tuple(best[0] - dot))
            taken = taken.also(best, best, ROOM)

    def _around(self, renderer: RendererBase, point: float) -> Taken:
        """Return what letters keep away from."""
        ax = self.axes
        assert ax is not None
        boxes = np.array(
            [
                Text.get_window_extent(text, renderer).get_points() / point
                for text in ax.texts
                if text not in self._placed
            ]
        ).reshape(-1, 2, 2)
        taken = Taken(boxes[:, 0], boxes[:, 1], np.zeros(len(boxes)))
        for dots in (each for each in ax.collections if isinstance(each, PathCollection)):
            places = dots.get_offset_transform().transform(dots.get_offsets()) / point
            radius = math.sqrt(max(dots.get_sizes(), default=0.0) / math.pi)
            taken = taken.also(places, places, radius)
        line = _along(ax.transData.transform(ax.lines[0].get_xydata()) / point)
        return taken.also(line, line, 1.0)


def _letter(ax: Axes, text: str, x: float, y: float) -> Annotation:
    letter = ax.annotate(
        text, (x, y), (0, 0), textcoords="offset points", ha="center", va="center", fontsize=8,
        zorder=4,
        arrowprops={"arrowstyle": "-", "lw": 0.5, "color": GREY, "shrinkA": 4, "shrinkB": 2},
    )  # fmt: skip
    letter.set_in_layout(False)
    return letter


def _along(corners: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return places along a line, so close to each other that no letter passes between them."""
    x = np.linspace(corners[0, 0], corners[-1, 0], 200)
    return np.stack([x, np.interp(x, corners[:, 0], corners[:, 1])], axis=-1)
