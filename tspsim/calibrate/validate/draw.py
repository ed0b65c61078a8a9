"""Pictures of a validation: predicted against measured, and a measured timeline over its twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.calibrate.validate.compare import Comparison, Report
from tspsim.calibrate.validate.scenario import scheme, title

#: Colours of what is computed and what is sent.
COMPUTE, COMMUNICATION = "#1f6fb2", "#e08a1e"

#: ``(lane, start, end)`` in seconds.
Bars = list[tuple[str, float, float]]


def scatter(report: Report, path: Path) -> None:
    """Draw predicted over measured step times, with the diagonal and 10 % on either side."""
    figure = Figure(figsize=(6.4, 6.4), layout="constrained")
    ax = figure.add_subplot()
    for index, name in enumerate(report.errors_by_scheme()):
        some = [c for c in report.comparisons if scheme(c.row) == name]
        ax.scatter(
            [c.measured * 1e3 for c in some], [c.predicted * 1e3 for c in some], s=30,
            color=f"C{index % 10}", marker="osD^v<>ph*"[index % 10], label=name,
        )  # fmt: skip
    times = [t * 1e3 for c in report.comparisons for t in (c.measured, c.predicted)]
    ends = [min(times) * 0.85, max(times) * 1.15]
    ax.plot(ends, ends, color="black", lw=0.8)
    ax.fill_between(ends, [0.9 * e for e in ends], [1.1 * e for e in ends], color="0.9", zorder=0)
    ax.set(xscale="log", yscale="log", xlim=ends, ylim=ends)
    ax.set_xlabel("measured step [ms]")
    ax.set_ylabel("predicted step [ms]")
    ax.set_title(f"{report.profile}: mean error {report.error:.1%}; grey: 10 %", loc="left")
    ax.legend(frameon=False, fontsize=8)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def pair(comparison: Comparison, path: Path) -> None:
    """Draw a measured step above the simulated one, on one axis of time."""
    ranks = comparison.row.case["ranks"]
    figure = Figure(figsize=(12, 1.2 + 1.0 * ranks), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    measured = [[(s[0], s[2], s[3]) for s in spans] for spans in comparison.row.timeline]
    _rows(top, measured, f"measured: {title(comparison.row)}")
    _rows(bottom, [_simulated(comparison, rank) for rank in range(ranks)], "simulated")
    end = max(comparison.predicted, *(end for bars in measured for _, _, end in bars))
    bottom.set_xlim(min(0.0, *(a for bars in measured for _, a, _ in bars)) * 1e3, end * 1e3)
    bottom.set_xlabel("time since the last rank began [ms]")
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _simulated(comparison: Comparison, rank: int) -> Bars:
    return [
        ("compute" if span.op.lane == 0 else "communication", span.start, span.end)
        for span in comparison.result.timeline.spans(rank)
    ]


def _rows(ax: Axes, ranks: list[Bars], name: str) -> None:
    """Draw a row of compute and a row of communication for every rank."""
    for rank, bars in enumerate(ranks):
        for lane, colour, low in (
            ("compute", COMPUTE, 0.45),
            ("communication", COMMUNICATION, 0.05),
        ):
            some = [(a * 1e3, (b - a) * 1e3) for kind, a, b in bars if kind == lane]
            style: dict[str, Any] = {"facecolors": colour, "edgecolors": "white", "linewidth": 0.2}
            ax.broken_barh(some, (-rank + low, 0.4), label=lane if rank == 0 else None, **style)
    ax.set_yticks([-rank + 0.45 for rank in range(len(ranks))])
    ax.set_yticklabels([f"rank {rank}" for rank in range(len(ranks))])
    ax.set_title(name, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
