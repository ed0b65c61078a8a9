"""The table of a comparison, why its winner wins, and in what two results differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.analysis.apart import Apart, apart
from tspsim.files.between import a_draw, between, rests_on
from tspsim.output.casts import casts
from tspsim.output.fitting import would_fit
from tspsim.output.next_step import next_step
from tspsim.output.units import as_in_table, size, time, time_unit
from tspsim.reports import inference_comparison as served
from tspsim.sweeps.candidates import Candidate, runner_up, winner
from tspsim.sweeps.speed import said, seconds, several, speed
from tspsim.topology.whole_steps import COVERAGE

if TYPE_CHECKING:
    from tspsim.sweeps.difference import Difference, Entry

#: The marks of the winner, and of those that cannot be told from it.
MARK, ALIKE = "▶", "≈"
#: Parts of the step time, and how a sentence says that they are shorter and longer.
_PARTS = {
    "compute": ("computes for {} less", "computes for {} longer"),
    "exposed_communication": ("exposes {} less communication", "exposes {} more communication"),
    "host": ("waits {} less for the host", "waits {} longer for the host"),
    "idle": ("idles for {} less", "idles for {} longer"),
}
#: A part that changes by less than this share of the gain is not worth a word.
_WORTH = 0.1
#: Nor is the busiest rank's load that differs by less than this share of the mean.
_UNEVEN = 0.05


def render(found: Sequence[Candidate]) -> RenderableType:
    """Return the table, the reasons of those that cannot run, and why the winner wins."""
    best = winner(found)
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("", "candidate"):
        table.add_column(name, overflow="fold", min_width=len(name))
    for name in titles(found):
        table.add_column(name, justify="right", no_wrap=True)
    same, row = alike(found), cells(found)
    for each in found:
        if each.result is not None:
            style = "bold green" if each is best else ""
            mark = MARK if each is best else ALIKE if each in same else ""
            table.add_row(mark, each.name, *row(each), style=style)
    wrong = [Text(f"  {c.name} cannot run: {c.reason}", "red") for c in found if c.result is None]
    basis = [*map(Text, _casts(found)), *(Text(text, "dim") for text in _basis(found))]
    if best is None and (nearest := _nearest(found)):
        basis.insert(0, Text(f"next, of {nearest.name}: {next_step(nearest.done)}"))
    return Group(table, *([Text(), *wrong] if wrong else []), Text(), Text(why(found)), *basis)


def step_cell(figures: dict[str, Any]) -> str:
    """Return a step's time, and below it, in the same unit, where it lies if that is known."""
    step, known = figures["step_time"], figures["interval"]
    if known is None:
        return time(step)
    unit = time_unit(step)
    bounds = between(known["low"], known["high"], unit)
    return f"{time(step)}\n{bounds.removesuffix(f' {unit[1]}')}"


def step_title(known: bool, *, narrow: bool = False) -> str:
    """Return what stands over cells with or without intervals."""
    within = f"{100 * COVERAGE:.0f} % within"
    return f"step time\n{within if narrow else f'({within})'}" if known else "step time"


def staged(found: Sequence[Candidate]) -> bool:
    """Return whether some candidate has a pipeline: bubbles have a column then."""
    return any(each.result is not None and "pipeline" in each.figures for each in found)


def cells(found: Sequence[Candidate]) -> Callable[[Candidate], tuple[str, ...]]:
    """Return what makes a candidate's row, under `titles`."""
    if served.all_infer(found):
        return partial(served.row_of, times=served.times_of(found))
    return partial(row_of, bubbles=staged(found))


def titles(found: Sequence[Candidate]) -> tuple[str, ...]:
    """Return what stands over the columns of a row."""
    if served.all_infer(found):
        return served.titles(found)
    known = any(c.result is not None and c.figures["interval"] for c in found)
    bubble = ("bubble",) if staged(found) else ()
    step = step_title(known, narrow=bool(bubble))  # else a line of 80 columns lacks the verdict
    return (step, "tok/s/dev", "MFU", "exposed", *bubble, "peak", "headroom", "fits")


def _basis(found: Sequence[Candidate]) -> list[str]:
    """Return what the intervals rest on, each once."""
    ran = [each.figures for each in found if each.result is not None]
    told = (f"times from profile {f['profile']['name']}: {rests_on(f['interval'])}" for f in ran)
    return list(dict.fromkeys(told))


def _casts(found: Sequence[Candidate]) -> list[str]:
    """Return what is said of candidates whose inference casts its weights, once."""
    served = [each.done for each in found if each.result and "inference" in each.figures]
    return list(dict.fromkeys(told for one in served for told in casts(one.scenario.workload)))


def row_of(each: Candidate, bubbles: bool = False) -> tuple[str, ...]:
    """Return the texts of a candidate's row, its name left out; with the bubble where it counts."""
    figures = each.figures
    memory, mfu = figures["memory"], figures["mfu"]
    left = memory["capacity"] - memory["peak"]
    return (
        step_cell(figures),
        f"{figures['tokens_per_second_per_device']:,.0f}",
        "unknown" if mfu is None else f"{100 * mfu:.1f} %",
        time(figures["time"]["exposed_communication"]),
        *([_bubble(figures)] if bubbles else []),
        size(memory["peak"]),
        size(left) if left >= 0 else f"-{size(-left)}",
        "yes" if memory["fits"] else "NO",
    )


def _bubble(figures: dict[str, Any]) -> str:
    """Return the share of the step in which ranks wait for micro-batches."""
    found = figures.get("pipeline")
    return f"{100 * found['bubble']['share']:.1f} %" if found else "-"


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
        and speed(each.figures) > speed(best.figures)
    ]
    same = alike(found)
    ahead = any(each is other for each in faster)  # then it is told below what it lacks
    verb = leads(_sure_of(best, other))
    told = (
        _draw(best, same) if same else f"{best.name} {verb}: {_against(best, other, ahead=ahead)}"
    )
    sooner = served.sooner(found, best)
    return "; ".join([told, *sooner, *(_too_large(best, each) for each in faster)]) + "."


def leads(sure: bool) -> str:
    """Return what the first one does: it wins where something says how far a lead may be off."""
    return "wins" if sure else "is ahead in the model"


def _sure_of(best: Candidate, other: Candidate | None) -> bool:
    """Say whether a lead has an interval, or nothing else could lead."""
    if other is None or not other.figures["memory"]["fits"]:
        return True
    return apart(best.figures, other.figures) is not None


def alike(found: Sequence[Candidate]) -> list[Candidate]:
    """Return the candidates that fit and cannot be told from the winner by their speed."""
    best = winner(found)
    if best is None:
        return []
    others = (c for c in found if c.result is not None and c.result.fits and c is not best)
    return [each for each in others if _is_draw(apart(best.figures, each.figures))]


def _is_draw(known: Apart | None) -> bool:
    """Whether a difference is smaller than its error; of equal times the peak decides."""
    return known is not None and known.draw and known.ratio != 1


def _draw(best: Candidate, same: Sequence[Candidate]) -> str:
    known = [apart(best.figures, each.figures) for each in same]
    widest = max((each for each in known if each is not None), key=lambda each: each.differ)
    return a_draw([best.name, *(each.name for each in same)], widest.differ, widest.least)


def _against(best: Candidate, other: Candidate | None, *, ahead: bool) -> str:
    mine = best.figures
    mine_takes, known = seconds(mine), mine["interval"]
    step = f"{time(mine_takes) if known is None else as_in_table(mine_takes, known)} {said(mine)}"
    if other is None:
        return f"{step}; nothing else could run"
    if not other.figures["memory"]["fits"]:
        memory = other.figures["memory"]
        over = size(memory["peak"] - memory["capacity"])
        return f"{step}; nothing else fits" + f" ({other.name} needs {over} more)" * (not ahead)
    its = other.figures
    if not _same_work(best, other):
        more = 100 * (speed(mine) / speed(its) - 1)
        rates = f"{speed(mine):,.0f} tokens/s"
        return f"{rates}, {more:.1f} % more than {other.name} ({_sure(mine, its, less=False)})"
    gain = seconds(its) - mine_takes
    if gain <= 0:
        return f"{step} as {other.name}, with a peak of {size(mine['memory']['peak'])}"
    less = f"{100 * gain / seconds(its):.1f} % less than {other.name}"
    if several(mine) or several(its):  # where time goes is known of the last step alone
        return f"{step}, {less} ({_sure(mine, its)})"
    because = f"because it {_reasons(mine, its)}{_balance(mine, its)}"
    return f"{step}, {less} ({_sure(mine, its)}), {because}"


def _sure(mine: dict[str, Any], its: dict[str, Any], *, less: bool = True) -> str:
    """Return between which percentages a difference lies, of time or of tokens per second."""
    known = apart(mine, its)
    if known is None:
        return "the difference's error is unknown"
    ends = [100 * (1 - 1 / end if less else end - 1) for end in (known.low, known.high)]
    return f"{100 * COVERAGE:.0f} %: {ends[0]:.1f} to {ends[1]:.1f} %"


def _same_work(a: Candidate, b: Candidate) -> bool:
    tokens = [speed(c.figures) * seconds(c.figures) for c in (a, b)]
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


def _balance(mine: dict[str, Any], its: dict[str, Any]) -> str:
    """Return that experts load ranks more evenly, where it is so: the others wait for less."""
    if "experts" not in mine or "experts" not in its:
        return ""
    even, uneven = (figures["experts"]["ranks"]["mean"] for figures in (mine, its))
    if uneven - even < _UNEVEN:
        return ""
    return f"; the busiest rank has {even:.2f} times the mean of experts' work, not {uneven:.2f}"


def _too_large(best: Candidate, each: Candidate) -> str:
    memory = each.figures["memory"]
    over = size(memory["peak"] - memory["capacity"])
    would = "as fast" if _is_draw(apart(each.figures, best.figures)) else "faster"
    takes, told = time(seconds(each.figures)), would_fit(each.figures)
    more = f" ({told})" if told else ""
    return f"{each.name} would be {would} ({takes}) but needs {over} more{more}"


def _nothing_fits(found: Sequence[Candidate]) -> str:
    nearest = _nearest(found)
    if nearest is None:
        return "Nothing can run."
    told, over = would_fit(nearest.figures), size(_over(nearest))
    more = f"; {told}" if told else ""
    return f"Nothing fits: {nearest.name} comes nearest and needs {over} more{more}."


def _nearest(found: Sequence[Candidate]) -> Candidate | None:
    """Return the candidate that needs the least more than there is; None: nothing can run."""
    return min((each for each in found if each.result is not None), key=_over, default=None)


def _over(each: Candidate) -> float:
    memory = each.figures["memory"]
    return float(memory["peak"] - memory["capacity"])


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
    best, other = winner(found), runner_up(found)
    rows = [
        {"candidate": c.name, "reason": c.reason or None}
        | ({"result": c.figures} if c.result is not None else {"result": None})
        for c in found
    ]
    # Of the winner and the second that fits; None: there is no such pair, or it is unknown.
    known = apart(best.figures, other.figures) if best and other and other.done.fits else None
    return {
        "candidates": rows,
        "winner": best.name if best else None,
        "draw": known.draw if known else None,
        "difference_interval": known.to_dict() if known else None,
        "why": why(found),
    }
