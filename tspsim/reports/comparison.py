"""The table of a comparison, why its winner wins, and in what two results differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.output.units import size, time
from tspsim.sweeps.candidates import Candidate, runner_up, winner

if TYPE_CHECKING:
    from tspsim.sweeps.difference import Difference, Entry

#: The mark of the winner.
MARK = "▶"
#: Parts of the step time, and how a sentence says that they are shorter and longer.
_PARTS = {
    "compute": ("computes for {} less", "computes for {} longer"),
    "exposed_communication": ("exposes {} less communication", "exposes {} more communication"),
    "host": ("waits {} less for the host", "waits {} longer for the host"),
    "idle": ("idles for {} less", "idles for {} longer"),
}
#: A part that changes by less than this share of the gain is not worth a word.
_WORTH = 0.1


def render(found: Sequence[Candidate]) -> RenderableType:
    """Return the table, the reasons of those that cannot run, and why the winner wins."""
    best = winner(found)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("", "candidate"):
        table.add_column(name, overflow="fold")
    for name in ("step time", "tok/s/dev", "MFU", "exposed", "peak", "headroom", "fits"):
        table.add_column(name, justify="right", no_wrap=True)
    for each in found:
        if each.result is not None:
            style = "bold green" if each is best else ""
            table.add_row(MARK if each is best else "", each.name, *row_of(each), style=style)
    wrong = [Text(f"  {c.name} cannot run: {c.reason}", "red") for c in found if c.result is None]
    return Group(table, *([Text(), *wrong] if wrong else []), Text(), Text(why(found)))


def row_of(each: Candidate) -> tuple[str, ...]:
    """Return the texts of a candidate's row, its name left out."""
    figures = each.figures
    memory, mfu = figures["memory"], figures["mfu"]
    left = memory["capacity"] - memory["peak"]
    return (
        time(figures["step_time"]),
        f"{figures['tokens_per_second_per_device']:,.0f}",
        "unknown" if mfu is None else f"{100 * mfu:.1f} %",
        time(figures["time"]["exposed_communication"]),
        size(memory["peak"]),
        size(left) if left >= 0 else f"-{size(-left)}",
        "yes" if memory["fits"] else "NO",
    )


def why(found: Sequence[Candidate]) -> str:
    """Return one sentence that says which candidate wins, and what makes it so."""
    best, other = winner(found), runner_up(found)
    if best is None:
        return _nothing_fits(found)
    faster = [
        each
        for each in found
        if each.result is not None
        and not each.result.fits
        and each.figures["tokens_per_second"] > best.figures["tokens_per_second"]
    ]
    parts = [f"{best.name} wins: {_against(best, other)}", *map(_too_large, faster)]
    return "; ".join(parts) + "."


def _against(best: Candidate, other: Candidate | None) -> str:
    step = time(best.figures["step_time"])
    if other is None:
        return f"{step} a step; nothing else could run"
    if not other.figures["memory"]["fits"]:
        memory = other.figures["memory"]
        over = size(memory["peak"] - memory["capacity"])
        return f"{step} a step; nothing else fits ({other.name} needs {over} more)"
    mine, its = best.figures, other.figures
    if not _same_work(best, other):
        gain = mine["tokens_per_second"] / its["tokens_per_second"] - 1
        rates = f"{mine['tokens_per_second']:,.0f} tokens/s"
        return f"{rates}, {100 * gain:.1f} % more than {other.name}"
    gain = its["step_time"] - mine["step_time"]
    if gain <= 0:
        return f"{step} a step as {other.name}, with a peak of {size(mine['memory']['peak'])}"
    share = 100 * gain / its["step_time"]
    return f"{step} a step, {share:.1f} % less than {other.name}, because it {_reasons(mine, its)}"


def _same_work(a: Candidate, b: Candidate) -> bool:
    tokens = [c.figures["tokens_per_second"] * c.figures["step_time"] for c in (a, b)]
    return bool(round(tokens[0]) == round(tokens[1]))


def _reasons(mine: dict[str, Any], its: dict[str, Any]) -> str:
    """Return what of the step time is shorter, largest first, and what is longer."""
    gain = its["step_time"] - mine["step_time"]
    its, mine = ({part: f["time"].get(part, 0.0) for part in _PARTS} for f in (its, mine))
    less = {part: its[part] - mine[part] for part in _PARTS}
    worth = {part: s for part, s in less.items() if abs(s) >= _WORTH * gain}
    shorter = sorted((p for p, s in worth.items() if s > 0), key=lambda p: -worth[p])
    longer = sorted((p for p, s in worth.items() if s < 0), key=lambda p: worth[p])
    told = [
        f"{_PARTS[p][0].format(time(worth[p]))} ({time(mine[p])} instead of {time(its[p])})"
        for p in shorter
    ]
    text = " and ".join(told)
    if longer:
        text += ", although it " + " and ".join(
            _PARTS[p][1].format(time(-worth[p])) for p in longer
        )
    return text


def _too_large(each: Candidate) -> str:
    memory = each.figures["memory"]
    over = size(memory["peak"] - memory["capacity"])
    return f"{each.name} would be faster ({time(each.figures['step_time'])}) but needs {over} more"


def _nothing_fits(found: Sequence[Candidate]) -> str:
    ran = [each for each in found if each.result is not None]
    if not ran:
        return "Nothing can run."
    over = {c.name: c.figures["memory"]["peak"] - c.figures["memory"]["capacity"] for c in ran}
    nearest = min(over, key=lambda name: over[name])
    return f"Nothing fits: {nearest} comes nearest and needs {size(over[nearest])} more."


def render_difference(found: Difference, names: tuple[str, str]) -> RenderableType:
    """Return the largest differences of two results as three tables."""
    parts: list[RenderableType] = []
    headings: tuple[tuple[str, tuple[Entry, ...], Callable[[float], str]], ...] = (
        ("time on its stream, slowest rank", found.ops, time),
        ("bytes over a link", found.links, size),
        ("bytes at the peak", found.buffers, size),
    )
    for heading, entries, text in headings:
        parts += [Text(), _entries(heading, entries, names, text)]
    return Group(*parts)


def _entries(
    heading: str, entries: tuple[Entry, ...], names: tuple[str, str], text: Callable[[float], str]
) -> RenderableType:
    if not entries:
        return Text(f"{heading}: no difference")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column(heading, overflow="fold")
    for name in (*names, "difference"):
        table.add_column(name, justify="right", overflow="fold")
    for entry in entries:
        sign = "+" if entry.more > 0 else "-"
        shown = [text(amount) if amount else "-" for amount in (entry.first, entry.second)]
        table.add_row(f"  {entry.name}", *shown, f"{sign}{text(abs(entry.more))}")
    return table


def to_dict(found: Sequence[Candidate]) -> dict[str, Any]:
    """Return the comparison as a JSON-able mapping: its rows, the winner, and why."""
    best = winner(found)
    rows = [
        {"candidate": c.name, "reason": c.reason or None}
        | ({"result": c.figures} if c.result is not None else {"result": None})
        for c in found
    ]
    return {"candidates": rows, "winner": best.name if best else None, "why": why(found)}
