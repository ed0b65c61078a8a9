"""Reports as text."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.calibrate.oracle.compare import Report
from tspsim.calibrate.oracle.jobs import Job

GIB = 2**30
COLUMNS = (
    "job", "flop", "messages", "peak torch", "peak tspsim", "error", "explained", "largest gap",
    "engine",
)  # fmt: skip


def table(reports: Sequence[Report]) -> str:
    """Return a Markdown table: one line per job."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_row, reports)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(report: Report) -> tuple[str, ...]:
    torch, simulated = report.torch, report.simulated
    _, counted, ours = report.largest_gap
    return (
        short(report.job),
        f"{torch.flops:.6e}" if not report.flops_error else f"**off by {report.flops_error:+d}**",
        _messages(report),
        f"{torch.peak / GIB:.3f} GiB",
        f"{simulated.peak / GIB:.3f} GiB",
        f"{report.peak_error:+.2%}",
        f"{report.unexplained_peak:+.2%}" if report.memory else "-",
        f"{(ours - counted) / GIB:+.3f} GiB",
        f"{report.played_error:+.2%}",
    )


def _messages(report: Report) -> str:
    if report.unexplained_messages:
        return f"**{report.unexplained_messages}**"
    kinds = sorted({call.kind for call in report.torch.calls})
    sent = ", ".join(f"{report.torch.count(kind)} {kind}" for kind in kinds)
    return f"{sent} *" if report.messages else sent


def short(job: Job) -> str:
    """Return a job in few words."""
    shown = [(name, value) for name, value in job.options if value is not False]
    flags = [name if value is True else f"{name} {value}" for name, value in shown]
    grouped = f"kv_heads {job.kv_heads}" if job.kv_heads != job.heads else ""
    words = [f"{job.source} {job.strategy}", ", ".join(flags), job.mlp, grouped]
    return "; ".join([*filter(None, words), f"recompute {job.recompute}"])
