"""Roofline plot: what the schedule's compute reaches, against what the device can do.

Williams, Waterman, Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, StrMethodFormatter

from tspsim.engine.timeline import Timeline
from tspsim.output.columns import figures
from tspsim.output.plots.style import DARK, axes, style_of
from tspsim.output.plots.window import chosen_rank
from tspsim.program.types import Op

if TYPE_CHECKING:
    from tspsim.result import Result

#: Dots that are named on the page: those that take most time.
NAMED = 10
TERA = 1e12


class Dot(NamedTuple):
    """All tasks of one label on one rank.

    Attributes
    ----------
    label : str
    op : Op
        One of them.
    intensity : float
        Flops per byte of device memory traffic; 0 where there are no flops.
    rate : float
        Flop/s reached; where there are no flops, bytes/s of device memory.
    seconds : float
        Time of all of them together.
    """

    label: str
    op: Op
    intensity: float
    rate: float
    seconds: float


def plot(result: Result, ax: Axes | None = None, *, rank: int | None = None) -> Axes:
    """Draw the device's roofline and every kind of compute task on it.

    Those with flops are dots. Those without have no place on the axis of intensity: they are
    triangles at the left edge, as far below the roof as the memory bandwidth that they reach.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    rank : int, optional
        The slowest rank when not given.
    """
    timeline = result.timeline
    rank = chosen_rank(result, rank, timeline.slowest_rank)
    device, workload = result.scenario.topology.devices[rank], result.scenario.workload
    dtype = workload.linears or workload.dtype
    found, flopless = dots(timeline, rank)
    ax = axes(ax, 9.0, 5.5)
    bandwidth = device.memory_bandwidth
    _roof(ax, found, device.peak(dtype), bandwidth)
    total = sum(dot.seconds for dot in (*found, *flopless)) or 1.0
    _dots(ax, merged(found), total)
    _triangles(ax, merged(flopless), total)
    ax.set_xlabel("arithmetic intensity [flop / byte of device memory]")
    ax.set_ylabel("reached [Tflop/s]")
    title = f"{result.scenario.name}: rank {rank} on {device.name}, {dtype}"
    ax.set_title(title, loc="left", fontsize=10)
    ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8,
        title="share of the compute time",
    )  # fmt: skip
    return ax


def dots(timeline: Timeline, rank: int) -> tuple[list[Dot], list[Dot]]:
    """Return the tasks with flops by label, and those without by kind, most time first."""
    sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0])
    example: dict[str, Op] = {}
    lanes = timeline.programs.of(rank).lanes
    for span in timeline.spans(rank):
        seconds = span.end - span.start
        if span.op.lane or not seconds:
            continue
        work = figures(span.op, lanes[0], timeline.mesh, rank)
        label = f"{span.op.label} {span.op.phase}" if work.flops else span.op.kind.name
        example.setdefault(label, span.op)
        sums[label] = [a + b for a, b in zip(sums[label], (*work[:2], seconds), strict=True)]
    found = [Dot(k, example[k], f / max(b, 1), (f or b) / s, s) for k, (f, b, s) in sums.items()]
    found.sort(key=lambda dot: -dot.seconds)
    return [d for d in found if d.intensity], [d for d in found if not d.intensity]


def _roof(ax: Axes, found: list[Dot], peak: float, bandwidth: float) -> None:
    ridge = peak / bandwidth
    intensities = [dot.intensity for dot in found] or [ridge]
    low, high = min(*intensities, ridge) / 5, max(*intensities, ridge) * 5
    x = np.array([low, ridge, high])
    ax.loglog(x, np.minimum(peak, bandwidth * x) / TERA, color=DARK, lw=2)
    ax.set_xlim(low, high)
    lowest = min([peak / 20, bandwidth * low / 5, *(dot.rate for dot in found)])
    ax.set_ylim(lowest / 2 / TERA, peak * 2 / TERA)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        axis.set_minor_formatter(NullFormatter())
    ax.annotate(
        f"peak {peak / TERA:,.0f} Tflop/s", (high, peak / TERA), (-4, 16), ha="right",
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    ax.annotate(
        f"memory {bandwidth / TERA:.2f} TB/s", (low, bandwidth * low / TERA), (22, 4),
        textcoords="offset points", fontsize=9,
    )  # fmt: skip


def _dots(ax: Axes, found: list[Dot], total: float) -> None:
    """Draw dots whose area is their share of the time; letters lead to the names of the largest."""
    # Neighbours get their letters on different sides.
    upper = sorted(range(len(found)), key=lambda i: found[i].intensity)[::2]
    for place, dot in enumerate(found):
        letter, share = chr(ord("A") + place), 100 * dot.seconds / total
        named = place < NAMED
        ax.scatter(
            dot.intensity, dot.rate / TERA, s=25 + 300 * dot.seconds / total, alpha=0.8,
            color=style_of(dot.op).colour, edgecolors="black", linewidths=0.6, zorder=3,
            label=f"{letter}  {dot.label}: {_percent(share)}" if named else None,
        )  # fmt: skip
        if named:
            ax.annotate(
                letter, (dot.intensity, dot.rate / TERA), (0, 8 if place in upper else -15),
                textcoords="offset points", ha="center", fontsize=8, zorder=4,
            )  # fmt: skip


def _triangles(ax: Axes, found: list[Dot], total: float) -> None:
    """Draw the kinds without flops where the memory roof would have them at the left edge.

    What would lie below the page, reaching next to nothing, lies on its lower edge.
    """
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    for dot in found[:NAMED]:
        share, height = 100 * dot.seconds / total, max(bottom, dot.rate * left / TERA)
        ax.scatter(
            left, height, s=40 + 3 * share, marker="<", alpha=0.8, clip_on=False,
            color=style_of(dot.op).colour, edgecolors="black", linewidths=0.6, zorder=3,
            label=f"no flops, {dot.rate / TERA:.2f} TB/s: {dot.label}: {_percent(share)}",
        )  # fmt: skip


def _percent(share: float) -> str:
    return f"{share:.0f} %" if share >= 0.5 else "< 1 %"


def merged(found: list[Dot]) -> list[Dot]:
    """Return dots of which no two lie on one another: those that do become one with all names."""
    groups: dict[tuple[str, int, int], list[Dot]] = defaultdict(list)
    for dot in found:
        # A tenth of a decade in 25 parts: closer than that, dots cannot be told apart.
        x, y = (round(25 * math.log10(v)) if v else 0 for v in (dot.intensity, dot.rate))
        groups[style_of(dot.op).colour, x, y].append(dot)
    joined = [_joined(group) for group in groups.values()]
    return sorted(joined, key=lambda dot: -dot.seconds)


def _joined(group: list[Dot]) -> Dot:
    labels = [dot.label for dot in group]
    more = f" and {len(labels) - 2} more" if len(labels) > 2 else ""
    return group[0]._replace(
        label=", ".join(labels[:2]) + more, seconds=sum(dot.seconds for dot in group)
    )
