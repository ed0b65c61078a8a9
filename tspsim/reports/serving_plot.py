"""Draws what ``tspsim serve`` found: requests and cache over time, and percentiles of times."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.files.numbers import plain
from tspsim.output.pictures import save
from tspsim.output.units import time_unit
from tspsim.reports.serving_table import latencies

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tspsim.serving.answer import Serving
    from tspsim.serving.figures import Times

#: A legend that hides nothing.
_ABOVE: dict[str, Any] = {"loc": "lower center", "bbox_to_anchor": (0.5, 1), "frameon": False}


def draw(found: Serving, path: Path) -> None:
    """Draw requests and cache over time beside the percentiles of times.

    Parameters
    ----------
    found : Serving
    path : Path
        Its suffix says the format.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 4.6), layout="constrained")
    grid = figure.add_gridspec(2, 2, width_ratios=(1.1, 1), height_ratios=(1.4, 1))
    requests = figure.add_subplot(grid[0, 0])
    _requests(requests, found)
    _cache(figure.add_subplot(grid[1, 0], sharex=requests), found)
    _percentiles(figure.add_subplot(grid[:, 1]), found)
    figure.suptitle(_title(found), fontsize=11)
    save(figure, path, f"serving of {found.scenario}")


def _title(found: Serving) -> str:
    rate, second = found.offered.arrival_rate, found.throughput
    come = "all requests come at once" if rate is None else f"{plain(rate, 3)} requests/s come"
    served = f"{plain(second['requests'], 3)}/s are served"
    return f"{found.scenario}: {come}, {served}: {second['new_tokens']:,.0f} new tokens/s"


def _requests(ax: Axes, found: Serving) -> None:
    """Draw how many requests run and wait."""
    from tspsim.output.plots.style import BLUE, VERMILLION

    over = found.over_time
    for values, name, colour in (
        (over.running, "running", BLUE),
        (over.waiting, "waiting", VERMILLION),
    ):
        ax.fill_between(over.times, values, step="post", color=colour, alpha=0.2, lw=0)
        ax.step(over.times, values, where="post", color=colour, lw=1.2, label=name)
    ax.set_ylabel("requests")
    ax.set_ylim(bottom=0)
    ax.tick_params(labelbottom=False)
    ax.legend(fontsize=9, **_ABOVE, ncols=2)
    _dress(ax)


def _cache(ax: Axes, found: Serving) -> None:
    """Draw which part of the cache is taken."""
    from tspsim.output.plots.style import DARK, SKY

    over = found.over_time
    taken = [100 * part for part in over.cache]
    ax.fill_between(over.times, taken, step="post", color=SKY, alpha=0.6, lw=0)
    ax.axhline(100, color=DARK, ls="--", lw=0.8)
    ax.set_ylim(0, 108)
    ax.set_ylabel("cache taken [%]")
    ax.set_xlabel("time since the first arrival [s]")
    ax.set_xlim(0, over.times[-1])
    _dress(ax)


def _percentiles(ax: Axes, found: Serving) -> None:
    """Draw median, p90 and p99 of every time, and write them below."""
    from matplotlib.ticker import FuncFormatter, NullFormatter

    named = latencies(found.latency)
    for place, (_, times) in enumerate(named):
        _marks(ax, place, times)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: _short(seconds)))
    ax.xaxis.set_minor_formatter(NullFormatter())
    ax.set_yticks(range(len(named)), [name for name, _ in named])
    ax.set_ylim(len(named) - 0.4, -0.5)
    ax.legend(fontsize=9, **_ABOVE, ncols=3)
    ax.grid(axis="x", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)


def _marks(ax: Axes, place: int, times: Times) -> None:
    """Draw and write the percentiles of one time; an axis of logarithms has no place for none."""
    from tspsim.output.plots.style import BLUE, DARK, ORANGE, VERMILLION

    marks = [("p50", times.p50, BLUE), ("p90", times.p90, ORANGE), ("p99", times.p99, VERMILLION)]
    ends = [seconds for _, seconds, _ in marks if seconds > 0]
    ax.plot(ends, [place] * len(ends), color=DARK, lw=1, zorder=1)
    for column, (name, seconds, colour) in enumerate(marks):
        at = seconds if seconds > 0 else math.nan
        ax.scatter(at, place, color=colour, s=40, zorder=2, label=name if not place else None)
        across = ax.get_yaxis_transform()
        ax.text(
            0.18 + 0.32 * column, place + 0.32, f"{name} {_short(seconds)}", transform=across,
            fontsize=9, ha="center", va="center",
        )  # fmt: skip


def _short(seconds: float) -> str:
    """Return a time with three digits that tell."""
    scale, name = time_unit(seconds) if seconds < 1 else (1.0, "s")
    return f"{plain(seconds / scale, 3)} {name}"


def _dress(ax: Axes) -> None:
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
