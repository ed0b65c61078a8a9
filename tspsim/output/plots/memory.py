"""Memory plot: what fills a rank's device over the step, and how much is left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.memory import RankMemory
from tspsim.output.plots.paper import asked
from tspsim.output.plots.phases import LOOKS, phases
from tspsim.output.plots.style import BESIDE, DARK, GREY, MEMORY, RESERVED, VERMILLION, axes
from tspsim.output.plots.ticks import plain_ticks
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import chosen_rank
from tspsim.output.units import size, time, time_unit
from tspsim.program.by_expert import expert_states
from tspsim.program.types import BUFFER_KINDS, BufferKind

if TYPE_CHECKING:
    from tspsim.result import Result

GIB = 2**30
#: Points of the white line between two bands, whose greys may be alike in print.
EDGE = 0.4
#: Moments drawn at most: more than a page has columns.
MOMENTS = 4000
#: A capacity beyond this many times the peak is said, not drawn: it would flatten the curve.
FAR = 2.5


def plot(result: Result, ax: Axes | None = None, *, rank: int | None = None) -> Axes:
    """Draw a rank's memory by kind over time, with its capacity and its peak.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    rank : int, optional
        The rank with the highest peak when not given.
    """
    rank = chosen_rank(result, rank, result.memory.peak_rank)
    memory = result.memory.ranks[rank]
    device = result.scenario.topology.devices[rank]
    ax = axes(ax, 10.0, 4.5)
    scale, _ = time_unit(result.timeline.step_time)
    beside = sum(memory.beside(device).values())
    program = result.timeline.programs.of(rank)
    inside = expert_states(program, result.timeline.mesh, rank)
    _areas(ax, memory, inside, result.timeline.step_time, beside, scale)
    top = capacity_line(ax, device.memory, memory.peak + beside)
    _mark_peak(ax, memory, beside, scale, result.timeline.step_time)
    dress(ax, result.timeline, rank, top)
    set_title(ax, _title(result, rank), pad=27)
    return ax


def dress(ax: Axes, timeline: Timeline, rank: int, top: float) -> None:
    """Mark phases, and name what the axes, as high as `top` bytes, and their bands are."""
    scale, unit = time_unit(timeline.step_time)
    _phase_marks(ax, timeline, rank, scale)
    ax.set_xlim(0, timeline.step_time / scale)
    ax.set_ylim(0, top / GIB)
    ax.set_xlabel(f"time since the start of the step [{unit}]")
    ax.set_ylabel("memory [GiB]")
    plain_ticks(ax.xaxis, ax.yaxis)
    _band_legend(ax)


def _title(result: Result, rank: int) -> str:
    among = result.memory
    highest = ", which has the highest peak" if among.ranks[rank].peak == among.peak else ""
    return titled(result, f"memory of rank {rank}{highest}")


def _areas(
    ax: Axes,
    memory: RankMemory,
    inside: Mapping[BufferKind, int],
    step_time: float,
    beside: float,
    scale: float,
) -> None:
    """Stack the kinds that are ever used, what runtime and libraries hold at the bottom.

    What of a kind is `inside` experts is hatched, at the top of its band.
    """
    seen = thin(memory.total, MOMENTS)
    times = np.append(memory.times[seen], step_time) / scale
    amounts = memory.by_kind[:, np.append(seen, seen[-1])] / GIB
    base = np.full(len(times), beside / GIB)
    raster = len(times) > MOMENTS // 2
    if beside:
        ax.fill_between(times, base, color=RESERVED, lw=0, label=BESIDE)
    for kind, values in zip(BUFFER_KINDS, amounts, strict=True):
        if values.any():
            top = base + values
            ax.fill_between(
                times, base, top, step="post", facecolor=MEMORY[kind], edgecolor="white", lw=EDGE,
                label=kind, rasterized=raster,
            )  # fmt: skip
            if inside.get(kind):
                ax.fill_between(
                    times, top - inside[kind] / GIB, top, step="post", facecolor=MEMORY[kind],
                    edgecolor="white", hatch="///", lw=0, label=f"{kind} of experts",
                    rasterized=raster,
                )  # fmt: skip
            base = top


def thin(total: NDArray[np.int64], moments: int) -> NDArray[np.intp]:
    """Return the indices of moments to draw: of every short stretch the highest and the lowest.

    Parameters
    ----------
    total : ndarray, shape (n,)
    moments : int
        All n are returned when there are no more than this.
    """
    n = len(total)
    if n <= moments:
        return np.arange(n)
    chosen = {0, n - 1, int(total.argmax())}
    for part in np.array_split(np.arange(n), moments // 2):
        chosen |= {int(part[total[part].argmax()]), int(part[total[part].argmin()])}
    return np.array(sorted(chosen), dtype=np.intp)


def capacity_line(ax: Axes, capacity: float, peak: float) -> float:
    """Draw the capacity, or say it where it lies far above; return the top of the axes in bytes."""
    over = peak > capacity
    said = f"capacity {size(capacity)}"
    if capacity > FAR * peak:
        ax.text(
            0.995, 0.98, f"{said} lies far above ↑, {size(capacity - peak)} free",
            transform=ax.transAxes, ha="right", va="top", fontsize=9, color=DARK,
        )  # fmt: skip
        return (1.25 if asked() is None else 1.6) * peak  # where two texts need the room
    ax.axhline(capacity / GIB, color=VERMILLION if over else DARK, lw=1.5, ls="--")
    verdict = f": {size(peak - capacity)} too little" if over else f", {size(capacity - peak)} free"
    ax.annotate(
        said + verdict, (0.995, capacity / GIB), (0, 3), xycoords=("axes fraction", "data"),
        textcoords="offset points", ha="right", fontsize=9, color=VERMILLION if over else DARK,
    )  # fmt: skip
    return 1.15 * max(capacity, peak)


def _mark_peak(ax: Axes, memory: RankMemory, beside: float, scale: float, step_time: float) -> None:
    """Point at the peak and say what is largest there."""
    at = int(memory.total.argmax())
    largest = int(memory.by_kind[:, at].argmax())
    said = f"{BUFFER_KINDS[largest]} {size(float(memory.by_kind[largest, at]))}"
    x, y = memory.peak_time / scale, (memory.peak + beside) / GIB
    right = memory.peak_time > 0.6 * step_time
    ax.plot([x], [y], "o", color="black", ms=4, zorder=5)
    ax.annotate(
        f"peak {size(memory.peak + beside)} at {time(memory.peak_time)}\nlargest: {said}",
        (x, y), (-8 if right else 8, 6), textcoords="offset points",
        ha="right" if right else "left", va="bottom", fontsize=8,
        bbox={"boxstyle": "round", "fc": "white", "ec": GREY, "alpha": 0.85},
    )  # fmt: skip


def _phase_marks(ax: Axes, timeline: Timeline, rank: int, scale: float) -> None:
    """Mark above the axes when the rank is in which phase."""
    for stretch in phases(timeline, rank):
        start, end = stretch.start / scale, stretch.end / scale
        ax.axvspan(start, end, 1.01, 1.04, clip_on=False, lw=0.3, **LOOKS[stretch.phase])
        if stretch.end - stretch.start > 0.08 * timeline.step_time:
            ax.text(
                (start + end) / 2, 1.05, stretch.phase, transform=ax.get_xaxis_transform(),
                ha="center", va="bottom", fontsize=8,
            )  # fmt: skip


def _band_legend(ax: Axes) -> None:
    """List the bands from top to bottom, as they lie."""
    handles, labels = ax.get_legend_handles_labels()
    ax.legend(
        handles[::-1], labels[::-1], loc="upper left", bbox_to_anchor=(1.01, 1.0),
        borderaxespad=0, frameon=False, fontsize=9,
    )  # fmt: skip
