"""Gantt charts of very many tasks: which share of the time each class takes, column by column.

Bars narrower than a pixel are painted over each other, and what is seen is chance.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from matplotlib.collections import PolyCollection
from numpy.typing import NDArray

from tspsim.output.plots.bars import Chart, Row
from tspsim.output.plots.style import ORDER, Style, edge_of, face_of
from tspsim.output.plots.window import Window

#: More bars than this to an inch of the fullest row cannot be told apart; and columns of an inch.
MOST, COLUMNS = 50.0, 60
#: Part of a row's height that a share of 100 % takes, and what communication takes at least: a
#: row in which something is said now and then shall not look silent.
FULL, LEAST = 0.94, 0.08


def is_dense(drawn: Chart, inches: float) -> bool:
    """Say whether the bars of a chart so wide are too narrow to be seen."""
    counts: dict[Row, int] = {}
    for bars in drawn.bars.values():
        for bar in bars:
            counts[bar.row] = counts.get(bar.row, 0) + 1
    return max(counts.values(), default=0) > MOST * inches


def shares(
    stretches: Iterable[tuple[float, float]], edges: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return which share of every column some stretches of time cover.

    Parameters
    ----------
    stretches : iterable of (float, float)
        Starts and ends; no two at a time.
    edges : ndarray, shape (n + 1,)

    Returns
    -------
    ndarray, shape (n,)
    """
    times = np.array(sorted(stretches), dtype=float).reshape(-1, 2)
    if not times.size:
        return np.zeros(len(edges) - 1)
    lengths = times[:, 1] - times[:, 0]
    spent = np.stack([np.cumsum(lengths) - lengths, np.cumsum(lengths)], axis=1)
    covered = np.diff(np.interp(edges, times.ravel(), spent.ravel()))
    found: NDArray[np.float64] = np.minimum(covered / np.diff(edges), 1.0)
    return found


def collections(
    drawn: Chart, part: Window, inches: float, scale: float
) -> Iterator[PolyCollection]:
    """Yield an artist per class: of every row what it takes, one class upon the other.

    Parameters
    ----------
    drawn : Chart
    part : Window
    inches : float
        Width of the axes.
    scale : float
        Seconds of the axis' unit.
    """
    edges = np.linspace(part.start, part.end, max(int(COLUMNS * inches), 2) + 1)
    bases = {row: np.full(len(edges) - 1, row.bottom) for row in drawn.rows}
    for style in sorted(drawn.bars, key=ORDER.index):
        corners = []
        for row, found in _by_row(drawn, style).items():
            taken = shares(found, edges)
            if row.lane:
                taken = np.where(taken > 0, np.maximum(taken, LEAST), 0.0)
            top = bases[row] + FULL * row.height * taken
            corners.append(_outline(edges / scale, bases[row], top))
            bases[row] = top
        yield PolyCollection(
            corners, facecolors=face_of(style), edgecolors=edge_of(style), linewidths=0.0,
            hatch=style.hatch or None, label=style.name,
        )  # fmt: skip


def _by_row(drawn: Chart, style: Style) -> dict[Row, list[tuple[float, float]]]:
    found: dict[Row, list[tuple[float, float]]] = {}
    for bar in drawn.bars[style]:
        found.setdefault(bar.row, []).append((bar.start, bar.end))
    return found


def _outline(
    edges: NDArray[np.float64], base: NDArray[np.float64], top: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the corners of steps: along the tops, and back along the bases; equal ones as one."""
    new = np.flatnonzero(np.concatenate([[True], (np.diff(base) != 0) | (np.diff(top) != 0)]))
    x = np.repeat(np.append(edges[new], edges[-1]), 2)[1:-1]
    there = np.stack([x, np.repeat(top[new], 2)], axis=-1)
    back = np.stack([x, np.repeat(base[new], 2)], axis=-1)[::-1]
    return np.concatenate([there, back])
