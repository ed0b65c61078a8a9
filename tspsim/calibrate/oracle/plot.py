"""Two memory timelines over each other: what torch counted, and what the simulator says."""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.calibrate.oracle.compare import Report
from tspsim.output.plots.style import BLUE, GREY, ORANGE, VERMILLION

GIB = 2**30


def draw(report: Report, path: Path) -> None:
    """Draw a report's memory timelines, and the difference below them, into a file."""
    figure = Figure(figsize=(10, 5.5), layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    _timelines(upper, report)
    _difference(lower, report)
    figure.suptitle(f"memory of a rank over a step: {report.job.title}", fontsize=10)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _timelines(ax: Axes, report: Report) -> None:
    """Draw both sides as steps over the flops that are done."""
    at = [flops / report.torch.flops for flops, _, _ in report.gaps]
    torch = [counted / GIB for _, counted, _ in report.gaps]
    simulated = [size / GIB for _, _, size in report.gaps]
    ax.step(at, torch, where="post", color=ORANGE, linewidth=3, label="torch: MemTracker")
    ax.step(at, simulated, where="post", color=BLUE, linewidth=1.2, label="tspsim")
    torch_peak, peak = (each.peak / GIB for each in (report.torch, report.simulated))
    apart = round(report.peak_error, 4) + 0.0  # never "-0.00"
    ax.set_title(
        f"peak: torch {torch_peak:.3f} GiB, tspsim {peak:.3f} GiB ({apart:+.2%})", fontsize=9
    )
    ax.set_ylabel("alive on a rank [GiB]")
    ax.set_ylim(bottom=0)
    ax.grid(axis="y", color=GREY, linewidth=0.5)
    ax.legend(loc="upper right", fontsize=8)


def _difference(ax: Axes, report: Report) -> None:
    """Draw simulated minus counted, and say where it is largest."""
    at = [flops / report.torch.flops for flops, _, _ in report.gaps]
    difference = [(size - counted) / GIB for _, counted, size in report.gaps]
    ax.step(at, difference, where="post", color=VERMILLION, linewidth=1)
    flops, counted, simulated = report.largest_gap
    gap, share = simulated - counted, (simulated - counted) / report.torch.peak
    said = f"largest gap: {gap / GIB:+.3f} GiB ({share:+.1%} of the peak)"
    ax.plot(flops / report.torch.flops, gap / GIB, "o", color=VERMILLION, markersize=4)
    ax.set_title(said, fontsize=9)
    ax.axhline(0, color=GREY, linewidth=0.5)
    ax.set_ylabel("tspsim - torch [GiB]")
    ax.set_xlabel("done of the step's flops")
    ax.set_xlim(0, 1)
