"""The table of ``tspsim serve``: how long requests take, and what the replica holds."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.output.units import duration, share, size, time

if TYPE_CHECKING:
    from tspsim.serving.answer import Serving
    from tspsim.serving.figures import Latency, Times


def render(found: Serving) -> RenderableType:
    """Return the table, at most 80 columns wide."""
    title = Text(found.scenario, "bold", overflow="fold")
    title.append(f"\n{_traffic(found)}\n", style="not bold")
    return Group(
        title, _latencies(found.latency), Text(), _rows(_load(found)), Text(), _steps(found)
    )


def latencies(found: Latency) -> list[tuple[str, Times]]:
    """Return the times that are told, with their names; those of single tokens where there are."""
    named = [
        ("time to first token", found.time_to_first_token),
        ("time per output token", found.time_per_output_token),
        ("inter-token latency", found.inter_token),
        ("end to end", found.end_to_end),
        ("waiting", found.waiting),
    ]
    return [(name, times) for name, times in named if times is not None]


def _traffic(found: Serving) -> str:
    offered = found.offered
    prompt, new = (
        total / offered.requests for total in (offered.prompt_tokens, offered.new_tokens)
    )
    tokens = f"{prompt:,.0f} tokens of prompt and {new:,.0f} new ones on average"
    return f"{offered.requests:,} requests, {offered.about}\n{tokens}"


def _latencies(found: Latency) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="dim", pad_edge=False)
    table.add_column("", width=22)
    for name in ("mean", "p50", "p90", "p99"):
        table.add_column(name, width=11, justify="right")
    for name, times in latencies(found):
        figures = (times.mean, times.p50, times.p90, times.p99)
        table.add_row(Text(name, "bold"), *(time(seconds) for seconds in figures))
    return table


def _load(found: Serving) -> Iterable[tuple[str, str, str]]:
    load, cache, second = found.load, found.cache, found.throughput
    asked = found.offered.arrival_rate
    come = "all at once" if asked is None else f"{asked:.4g} come"
    yield "served", f"{second['requests']:.4g} /s", f"requests; {come}"
    yield "new tokens", f"{second['new_tokens']:,.0f} /s", ""
    yield "tokens of prompts", f"{second['prompt_tokens']:,.0f} /s", ""
    last = f"{load.waiting_at_last_arrival:,} at the last arrival"
    yield "queue", f"{load.waiting.mean:,.1f}", f"at most {load.waiting.maximum:,}; {last}"
    most = f"at most {load.running.maximum:,} of {found.limits.sequences:,}"
    yield "running", f"{load.running.mean:,.1f}", most
    most = f"at most {share(load.blocks.maximum, cache.blocks)}"
    yield "cache", share(load.blocks.mean, cache.blocks), most
    room = f"{cache.tokens:,} tokens in blocks of {cache.block:,}"
    yield "  of", size(cache.tokens * cache.bytes_per_token), room
    twice, lost = found.preemptions, ""
    if twice.count:
        lost = f"{twice.requests:,} requests; {twice.recomputed_tokens:,} tokens computed again"
    yield "preemptions", f"{twice.count:,}", lost


def _steps(found: Serving) -> Text:
    steps = found.steps
    told = (
        f"{steps.count:,} steps in {duration(found.duration)}, {time(steps.mean)} each, busy "
        f"{100 * steps.busy:.1f} % of the time\n"
        f"their times are interpolated between {steps.played:,} that were played: within "
        f"{max(100 * steps.error, 0.1):.1f} % of {steps.compared:,} drawn from the run"
    )
    return Text(told, style="dim")


def _rows(rows: Iterable[tuple[str, str, str]]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_column(width=20)
    table.add_column(width=13, justify="right")
    table.add_column(width=43)
    for name, value, more in rows:
        table.add_row(Text(name, style="" if name.startswith(" ") else "bold"), value, more)
    return table
