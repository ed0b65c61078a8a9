"""Draws what ``tspsim goodput`` found: useful time over the interval between checkpoints."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tspsim.files.errors import UserError
from tspsim.output import pictures
from tspsim.output.units import duration

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from tspsim.runs.goodput import Best, Goodput
    from tspsim.scenario import Scenario

#: Points of the closed form's curve.
POINTS = 200


def check(scenario: Scenario, path: Path) -> None:
    """Refuse a picture that `draw` could not make, before anything is simulated.

    Raises
    ------
    UserError
        When the file is no picture, or no interval is better than another: all failures are stated.
    """
    pictures.check(path)
    job = scenario.disturbances.reliability
    if job is not None and job.mtbf is None:
        raise UserError(f"{path}: nothing to draw: without an 'mtbf' only one interval is played")


def draw(found: Goodput, path: Path) -> None:
    """Draw the goodput over the intervals that were tried, with the closed form.

    Parameters
    ----------
    found : Goodput
        With `Goodput.best`.
    path : Path
        Its suffix says the format.
    """
    from tspsim.output.plots.style import axes

    assert found.best is not None
    ax = axes(None, 7.2, 3.8)
    _curve(ax, found, found.best)
    _points(ax, found.best)
    _marks(ax, found.best)
    ax.set_ylabel("goodput: useful part of the time [%]")
    ax.set_xlabel("useful work between two checkpoints")
    fails = duration(found.system_mtbf or 0.0)
    checkpoint = f"a checkpoint takes {duration(found.checkpoint_time)}"
    devices = f"{found.devices:,} devices, one fails every {fails}"
    ax.set_title(f"{found.scenario}: {devices}; {checkpoint}", fontsize=10)
    ax.legend(fontsize=9, loc="lower center", edgecolor="none", framealpha=1)
    ax.grid(axis="y", alpha=0.3)
    ax.spines[["top", "right"]].set_visible(False)
    pictures.save(ax.figure, path, f"goodput of {found.scenario}")  # type: ignore[arg-type]


def _curve(ax: Axes, found: Goodput, best: Best) -> None:
    import numpy as np

    from tspsim.engine.jobs.checkpointing import efficiency
    from tspsim.output.plots.style import BLUE

    ends = best.tried[0].interval, best.tried[-1].interval
    intervals = np.geomspace(*ends, POINTS).tolist()
    cost = found.checkpoint_time, found.restart, found.system_mtbf or 0.0
    values = [100 * efficiency(interval, *cost) for interval in intervals]
    ax.plot(intervals, values, color=BLUE, label="closed form (Daly 2006)")


def _points(ax: Axes, best: Best) -> None:
    from tspsim.output.plots.style import DARK

    means = [100 * tried.goodput.mean for tried in best.tried]
    half = [
        100 * (tried.goodput.high - tried.goodput.mean) if tried.goodput.high is not None else 0.0
        for tried in best.tried
    ]
    runs = best.tried[0].goodput.runs
    label = f"simulated: mean of {runs:,} jobs, 95 % interval"
    x = [tried.interval for tried in best.tried]
    ax.errorbar(x, means, half, fmt="o", ms=4, capsize=3, color=DARK, label=label)


def _marks(ax: Axes, best: Best) -> None:
    from matplotlib.ticker import FixedLocator, NullLocator

    from tspsim.output.plots.style import VERMILLION

    label = f"best by Young's formula: {duration(best.young)}"
    ax.axvline(best.young, color=VERMILLION, ls="--", lw=1, label=label)
    ticks = [tried.interval for tried in best.tried][::2]
    ax.set_xscale("log")
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_minor_locator(NullLocator())
    ax.set_xticks(ticks, [duration(tick) for tick in ticks])
