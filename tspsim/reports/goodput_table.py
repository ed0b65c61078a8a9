"""The table of ``tspsim goodput``: what is left of a job's time, and how often to checkpoint."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.files.between import within
from tspsim.output.units import duration, share, size, time, time_unit

if TYPE_CHECKING:
    from tspsim.runs.goodput import Best, Goodput

#: Width of the bars.
BAR = 24


def render(found: Goodput) -> RenderableType:
    """Return the table, at most 80 columns wide."""
    runs = found.goodput.runs
    title = Text(f"{found.scenario}", "bold")
    title.append(f"\n{_job(found)}\n", style="not bold")
    parts: list[RenderableType] = [title, _rows(_figures(found)), Text(), _rows(_time(found))]
    if found.best is not None:
        parts += [Text(), _rows(_intervals(found.best))]
    jobs = f"{runs:,} jobs, each with failures of its own" if runs > 1 else "one job"
    return Group(*parts, Text(), Text(f"simulated: {jobs}", style="dim"))


def _job(found: Goodput) -> str:
    each = "the stated failures only" if found.mtbf is None else f"one fails every {_any(found)}"
    return f"{found.devices:,} devices for {duration(found.horizon)}; {each}"


def _any(found: Goodput) -> str:
    return duration(found.system_mtbf or 0.0)


def _figures(found: Goodput) -> Iterable[tuple[str, str, str]]:
    good = found.goodput
    sure = (
        "" if good.low is None else f"95 %: {100 * good.low:.2f} to {100 * (good.high or 0):.2f} %"
    )
    yield "goodput", f"{100 * good.mean:.2f} %", sure
    if found.closed_form is not None:
        yield "  closed form (Daly)", f"{100 * found.closed_form:.2f} %", "of a long job"
    yield "useful steps/s", f"{found.steps_per_second:.4g}", _useful(found)
    mean = f"mean of {found.steps} steps" if found.steps > 1 else "simulated"
    known = None if found.step_interval is None else asdict(found.step_interval)
    sure = within(known, time_unit(found.step_time))
    yield "step time", time(found.step_time), f"{mean}; {sure}"
    written = found.checkpoint_bytes
    each = "stated" if written is None else f"{size(written)} per rank"
    yield "checkpoint", duration(found.checkpoint_time), each
    yield "  every", duration(found.interval), "of useful work"
    yield "failures", f"{found.failures:,.1f}", "per job"


def _useful(found: Goodput) -> str:
    return f"{found.tokens * found.steps_per_second:,.0f} tokens/s"


def _time(found: Goodput) -> Iterable[tuple[str, str, str]]:
    spent, whole = found.time, found.horizon
    yield "time of a job", duration(whole), ""
    parts = {
        "useful": spent.useful, "checkpoints": spent.checkpoints,
        "lost to failures": spent.lost, "restarts": spent.restarts,
    }  # fmt: skip
    for name, part in parts.items():
        halves = round(2 * BAR * part / whole)
        bar = "━" * (halves // 2) + "╸" * (halves % 2)
        yield f"  {name}", duration(part), f"{share(part, whole):>7}  {bar}"


def _intervals(best: Best) -> Iterable[tuple[str, str, str]]:
    yield "best interval", "", "of useful work between two checkpoints"
    yield "  Young", duration(best.young), "first order"
    yield "  Daly", duration(best.daly), "higher order"
    yield "  simulated", duration(best.simulated), f"the best of {len(best.tried)} tried"
    yield "", "", f"95 %: {duration(best.low)} to {duration(best.high)}"


def _rows(rows: Iterable[tuple[str, str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=22)
    table.add_column(width=16, justify="right")
    table.add_column(width=38)
    for name, value, more in rows:
        table.add_row(Text(name, style="" if name.startswith(" ") else "bold"), value, more)
    return table
