"""Roofline plot: what the schedule's compute reaches, against what the device can do.

Williams, Waterman, Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes

from tspsim.engine.timeline import Timeline
from tspsim.output.columns import figures
from tspsim.output.plots.style import DARK, axes, style_of
from tspsim.program.types import Op

if TYPE_CHECKING:
    from tspsim.result import Result

#: Dots that are named on the page: those that take most time.
NAMED = 6


class Dot(NamedTuple):
    """All tasks of one label on one rank.

    Attributes
    ----------
    label : str
    op : Op
        One of them.
    intensity : float
        Flops per byte of device memory traffic.
    rate : float
        Flop/s reached.
    seconds : float
        Time of all of them together.
    """

    label: str
    op: Op
    intensity: float
    rate: float
    seconds: float


def plot(result: Result, ax: Axes | None = None, *, rank: int | None = None) -> Axes:
    """Draw the device's roofline and every kind of task with flops as a dot on it.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    rank : int, optional
        The slowest rank when not given.
    """
    timeline = result.timeline
    rank = timeline.slowest_rank if rank is None else rank
    device, dtype = result.scenario.topology.devices[rank], result.scenario.workload.dtype
    found, left = dots(timeline, rank)
    ax = axes(ax, 9.0, 5.5)
    _roof(ax, found, device.peak(dtype), device.memory_bandwidth)
    _dots(ax, found)
    ax.set_xlabel("arithmetic intensity [flop / byte of device memory]")
    ax.set_ylabel("reached [flop/s]")
    title = f"{result.scenario.name}: rank {rank} on {device.name}, {dtype}"
    if left:
        title += f"; {100 * left:.0f} % of its compute time has no flops, and no dot"
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False)
    return ax


def dots(timeline: Timeline, rank: int) -> tuple[list[Dot], float]:
    """Return the tasks with flops by label, and the share of compute time without flops."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    example: dict[str, Op] = {}
    idle = total = 0.0
    lanes = timeline.programs.of(rank).lanes
    for span in timeline.spans(rank):
        if span.op.lane:
            continue
        seconds = span.end - span.start
        total += seconds
        work = figures(span.op, lanes[0], timeline.mesh, rank)
        if not work.flops or not seconds:
            idle += seconds
            continue
        label = f"{span.op.label}, {span.op.phase}"
        example.setdefault(label, span.op)
        sums[label] = [a + b for a, b in zip(sums[label], (*work[:2], seconds), strict=True)]
    found = [Dot(k, example[k], f / max(b, 1), f / s, s) for k, (f, b, s) in sums.items()]
    found.sort(key=lambda dot: -dot.seconds)
    return found, idle / total if total else 0.0


def _roof(ax: Axes, found: list[Dot], peak: float, bandwidth: float) -> None:
    ridge = peak / bandwidth
    intensities = [dot.intensity for dot in found] or [ridge]
    low, high = min(*intensities, ridge) / 4, max(*intensities, ridge) * 4
    x = np.geomspace(low, high, 200)
    ax.loglog(x, np.minimum(peak, bandwidth * x), color=DARK, lw=2)
    ax.set_xlim(low, high)
    lowest = min([dot.rate for dot in found] or [peak])
    ax.set_ylim(min(lowest, bandwidth * low) / 2, peak * 3)
    ax.annotate(
        f"{peak / 1e12:,.0f} Tflop/s", (high, peak), (-4, 4), textcoords="offset points",
        ha="right", fontsize=9,
    )  # fmt: skip
    ax.annotate(
        f"{bandwidth / 1e12:.2f} TB/s", (low, bandwidth * low), (10, 2),
        textcoords="offset points", fontsize=9,
    )  # fmt: skip


def _dots(ax: Axes, found: list[Dot]) -> None:
    """Draw dots whose area is their share of the time, and name the largest."""
    total = sum(dot.seconds for dot in found) or 1.0
    named = set()
    for place, dot in enumerate(found):
        style = style_of(dot.op)
        label = style.name if style.name not in named else None
        named.add(style.name)
        ax.scatter(
            dot.intensity, dot.rate, s=20 + 400 * dot.seconds / total, color=style.colour,
            hatch=style.hatch, edgecolors="white", label=label, zorder=3,
        )  # fmt: skip
        if place < NAMED:
            ax.annotate(
                f"{dot.label} ({100 * dot.seconds / total:.0f} %)", (dot.intensity, dot.rate),
                (8, -10), textcoords="offset points", fontsize=7,
            )  # fmt: skip
