"""Roofline plot: what the schedule's compute reaches, against what the device can do.

Williams, Waterman, Patterson 2009, doi:10.1145/1498765.1498785.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.transforms import offset_copy

from tspsim.engine.timeline import Timeline
from tspsim.files.numbers import plain
from tspsim.output.columns import figures
from tspsim.output.plots.letters import Letters
from tspsim.output.plots.style import DARK, axes, style_of
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import chosen_rank
from tspsim.output.units import byte_rate
from tspsim.program.types import Op
from tspsim.topology.hardware import Device

if TYPE_CHECKING:
    from tspsim.result import Result

#: Dots that are named on the page, and kinds without flops: those that take most time.
NAMED, FLOPLESS = 8, 3
#: A share of the time below this is not worth a name.
LEAST = 0.005
#: Part of the width that the slope of the roof takes at least, and its flat: each has a name.
SLOPE, FLAT = 0.35, 0.4
#: Area of a dot in the legend, in square points.
KEY = 36.0
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
    ax = axes(ax, 9.0, 5.0)
    _roof(ax, found, device, dtype)
    total = sum(dot.seconds for dot in (*found, *flopless)) or 1.0
    _dots(ax, merged(found), total)
    _triangles(ax, merged(flopless), total)
    ax.set_xlabel("arithmetic intensity [flop/byte of device memory]")
    ax.set_ylabel("reached [Tflop/s]")
    set_title(ax, titled(result, f"roofline of rank {rank}, a {device.name}, {dtype}"))
    _legend(ax)
    return ax


def _legend(ax: Axes) -> None:
    """Name the dots, all in one size: with theirs, the large ones would lie on each other."""
    legend = ax.legend(
        loc="upper left", bbox_to_anchor=(1.01, 1), borderaxespad=0, frameon=False, fontsize=8,
        title="share of the compute time",
    )  # fmt: skip
    for key in legend.legend_handles:
        assert isinstance(key, PathCollection)
        key.set_sizes([KEY * bool(key.get_sizes()[0])])


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


def _roof(ax: Axes, found: list[Dot], device: Device, dtype: str) -> None:
    peak, bandwidth = device.peak(dtype), device.memory_bandwidth
    ridge = peak / bandwidth
    low, high = _ends([dot.intensity for dot in found], ridge)
    x = np.array([low, ridge, high])
    ax.loglog(x, np.minimum(peak, bandwidth * x) / TERA, color=DARK, lw=2, zorder=2)
    ax.set_xlim(low, high)
    lowest = min([peak / 20, bandwidth * low / 5, *(dot.rate for dot in found)])
    ax.set_ylim(lowest / 2 / TERA, peak * 2.2 / TERA)
    plain_ticks(ax.xaxis, ax.yaxis)
    ax.grid(alpha=0.25)
    ax.annotate(
        f"peak {plain(peak / TERA, 4)} Tflop/s", (high, peak / TERA), (-4, 5), ha="right",
        textcoords="offset points", fontsize=9,
    )  # fmt: skip
    _along(ax, ridge, bandwidth)


def _ends(intensities: list[float], ridge: float) -> tuple[float, float]:
    """Return the first and the last intensity of the page."""
    low, high = min([*intensities, ridge]) / 5, max([*intensities, ridge]) * 5
    high = max(high, ridge * (ridge / low) ** (FLAT / (1 - FLAT)))
    return min(low, ridge * (ridge / high) ** (SLOPE / (1 - SLOPE))), high


def _along(ax: Axes, ridge: float, bandwidth: float) -> None:
    """Write the bandwidth along the slope of the roof, up to where it ends."""
    slope = math.degrees(math.atan(bandwidth / TERA))
    above = offset_copy(ax.transData, ax.figure, x=-5, y=3, units="points")  # type: ignore[arg-type]
    ax.text(
        ridge, bandwidth * ridge / TERA, f"memory {byte_rate(bandwidth)}", fontsize=9,
        transform=above, rotation=slope, rotation_mode="anchor", transform_rotates_text=True,
        ha="right", va="bottom",
    )  # fmt: skip


def _dots(ax: Axes, found: list[Dot], total: float) -> None:
    """Draw dots whose area is their share of the time; letters lead to the names of the largest."""
    letters = []
    for place, dot in enumerate(found):
        letter, share = chr(ord("A") + place), 100 * dot.seconds / total
        named = place < NAMED and dot.seconds >= LEAST * total
        ax.scatter(
            dot.intensity, dot.rate / TERA, s=25 + 300 * dot.seconds / total, alpha=0.8,
            color=style_of(dot.op).colour, edgecolors="black", linewidths=0.6, zorder=3,
            label=f"{letter}  {dot.label}: {_percent(share)}" if named else None,
        )  # fmt: skip
        if named:
            letters.append((letter, dot.intensity, dot.rate / TERA))
    Letters(ax, letters)


def _triangles(ax: Axes, found: list[Dot], total: float) -> None:
    """Draw the kinds without flops where the memory roof would have them at the left edge.

    What would lie below the page, reaching next to nothing, lies on its lower edge.
    """
    left, bottom = ax.get_xlim()[0], ax.get_ylim()[0]
    for place, dot in enumerate(found):
        share, height = 100 * dot.seconds / total, max(bottom, dot.rate * left / TERA)
        ax.scatter(
            left, height, s=40 + 3 * share, marker=">", alpha=0.8, clip_on=False,
            color=style_of(dot.op).colour, edgecolors="black", linewidths=0.6, zorder=3,
            label=_flopless(dot, share) if place < FLOPLESS else None,
        )  # fmt: skip
    if rest := found[FLOPLESS:]:
        share = 100 * sum(dot.seconds for dot in rest) / total
        ax.scatter([], [], s=0, label=f"and {len(rest)} more of no flops: {_percent(share)}")


def _flopless(dot: Dot, share: float) -> str:
    return f"no flops, {byte_rate(dot.rate)}: {dot.label}: {_percent(share)}"


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
