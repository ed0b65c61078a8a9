"""Draws bus bandwidth over size: a line as simulated, in the colour of its algorithm, and dots."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle, groupby
from pathlib import Path
from typing import TYPE_CHECKING

from tspsim.collectives.curve import Point
from tspsim.output.pictures import check, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_MARKERS = "o^sD"


@dataclass(frozen=True, slots=True)
class Panel:
    """One curve.

    Parameters
    ----------
    title : str
    points : sequence of Point
        As simulated.
    measured : sequence of (str, sequence of (float, float))
        What some dots are, and for each its bytes and bus bandwidth in bytes/s.
    """

    title: str
    points: Sequence[Point]
    measured: Sequence[tuple[str, Sequence[tuple[float, float]]]] = ()


def draw_curves(panels: Sequence[Panel], path: Path, columns: int = 1, title: str = "") -> None:
    """Draw panels side by side and save them.

    Raises
    ------
    OutputError
        When the suffix is not that of a picture, or the file cannot be written.
    """
    check(path)
    from matplotlib.figure import Figure

    rows = -(-len(panels) // columns)
    width = 7.5 if columns == 1 else 4.3 * columns
    figure = Figure(figsize=(width, 4.4 if rows == 1 else 3.5 * rows), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for place, ax in enumerate(grid.flat):
        if place < len(panels):
            _panel(panels[place], ax)
        else:
            ax.set_visible(False)
    for ax in grid[:, 0]:
        ax.set_ylabel("bus bandwidth [GB/s]", fontsize=9)
    if title:
        figure.suptitle(title, fontsize=12)
    save(figure, path, title or panels[0].title)


def _panel(panel: Panel, ax: Axes) -> None:
    """Draw one curve; where the algorithm changes the line goes on from the last point."""
    from tspsim.output.plots.ticks import plain_ticks
    from tspsim.reports.maps.groups import LOOKS, Look

    known: dict[str, Look] = {}
    last: list[Point] = []
    for algorithm, some in groupby(panel.points, key=lambda point: point.algorithm):
        part = list(some)
        fresh = algorithm not in known
        look = known.setdefault(algorithm, Look(*LOOKS[len(known) % len(LOOKS)]))
        x, y = _figures([*last, *part])
        label = f"simulated: {algorithm.replace('_', ' ')}" if fresh else None
        ax.plot(x, y, color=look.colour, ls=look.line, lw=1.8, label=label)
        last = part[-1:]
    for (label, dots), marker in zip(panel.measured, cycle(_MARKERS), strict=False):
        x, y = [size for size, _ in dots], [rate / 1e9 for _, rate in dots]
        ax.plot(x, y, marker, ms=4.5, color="black", mfc="white", label=label)
    ax.set_title(panel.title, fontsize=9.5, loc="left")
    ax.set_ylim(bottom=0)
    plain_ticks(ax.yaxis)
    ax.grid(alpha=0.3)
    ax.legend(fontsize=8, loc="upper left", framealpha=0.9)
    seen = [size for _, dots in panel.measured for size, _ in dots]
    _sizes([*(point.bytes for point in panel.points), *seen], ax)


def _figures(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.bytes for point in points], [point.busbw / 1e9 for point in points]


def _sizes(sizes: Sequence[float], ax: Axes) -> None:
    """Label the axis with sizes in powers of two."""
    names = ("B", "KiB", "MiB", "GiB", "TiB")
    powers = [k for k in range(0, 50, 5) if min(sizes) <= 2**k <= max(sizes)]
    ax.set_xscale("log", base=2)
    if len(powers) > 1:
        ax.set_xticks([2**k for k in powers], [f"{2 ** (k % 10)} {names[k // 10]}" for k in powers])
    ax.tick_params(labelsize=8)
    ax.set_xlabel("size", fontsize=9)
