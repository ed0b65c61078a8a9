"""Pictures of a validation: predicted against measured, and a measured timeline over its twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.calibrate.validate.compare import Comparison, Report
from tspsim.calibrate.validate.scenario import scheme, title
from tspsim.files.writing import whole

#: Colours of what is computed, and of what is sent by its kind.
COLOURS = {
    "compute": "#1f4e8c", "broadcast": "#e08a1e", "shift": "#2e9e6b", "all_gather": "#c7528f",
    "reduce_scatter": "#8c6bb1", "all_reduce": "#b5413c", "reduce": "#8a8a8a",
    "all_to_all": "#5fb3c9",
}  # fmt: skip

#: ``(kind, start, end)`` in seconds.
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
    with whole(path) as partial:
        figure.savefig(partial, dpi=110, metadata={"Software": None})


def pair(comparison: Comparison, path: Path) -> None:
    """Draw a measured step above the simulated one, on one axis of time."""
    ranks = comparison.row.case["ranks"]
    figure = Figure(figsize=(12, 1.2 + 1.0 * ranks), layout="constrained")
    top, bottom = figure.subplots(2, 1, sharex=True)
    measured = [[_measured(span) for span in spans] for spans in comparison.row.timeline]
    _rows(top, measured, f"measured: {title(comparison.row)}")
    _rows(bottom, [_simulated(comparison, rank) for rank in range(ranks)], "simulated")
    end = max(comparison.predicted, *(end for bars in measured for _, _, end in bars))
    bottom.set_xlim(min(0.0, *(a for bars in measured for _, a, _ in bars)) * 1e3, end * 1e3)
    bottom.set_xlabel("time since the last rank began [ms]")
    with whole(path) as partial:
        figure.savefig(partial, dpi=110, metadata={"Software": None})


def _measured(span: list[Any]) -> tuple[str, float, float]:
    lane, name, start, end = span
    kind = "shift" if name in ("send", "recv") else str(name)
    return "compute" if lane == "compute" else kind, start, end


def _simulated(comparison: Comparison, rank: int) -> Bars:
    return [
        (span.op.message.collective if span.op.message else "compute", span.start, span.end)
        for span in comparison.result.timeline.spans(rank)
    ]


def _rows(ax: Axes, ranks: list[Bars], name: str) -> None:
    """Draw a row of compute and a row of communication for every rank."""
    there = {kind for bars in ranks for kind, _, _ in bars}
    for kind, colour in COLOURS.items():
        low = 0.5 if kind == "compute" else 0.05
        for rank, bars in enumerate(ranks):
            some = [(a * 1e3, (b - a) * 1e3) for found, a, b in bars if found == kind]
            ax.broken_barh(
                some, (-rank + low, 0.4), facecolors=colour, linewidth=0.4, alpha=0.75,
                edgecolors=colour if kind == "compute" else "white",
                label=kind if rank == 0 and kind in there else None,
            )  # fmt: skip
    ax.set_yticks([-rank + 0.45 for rank in range(len(ranks))])
    ax.set_yticklabels([f"rank {rank}" for rank in range(len(ranks))])
    ax.set_title(name, loc="left", fontsize=10)
    ax.legend(frameon=False, fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
