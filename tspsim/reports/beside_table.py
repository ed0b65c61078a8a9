"""A measured step beside its simulation, as tables and as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.output.units import size, time
from tspsim.reports.beside_rows import Amount, Row, Times

if TYPE_CHECKING:
    from tspsim.reports.beside import Beside

#: As wide as the longest kind.
_FIRST = len("  attention_backward")

_SIDES = ("in the trace", "in the simulation")


def render(found: Beside) -> RenderableType:
    """Return the comparison for the terminal."""
    every = found.rows
    both = [row for row in every if row.measured and row.predicted]
    parts: list[RenderableType] = [Text("\n".join([*_head(found), ""])), _table(found, both)]
    notes = [*_sizes(both), *_alone(every)]
    return Group(*parts, Text("\n".join(["", *notes]))) if notes else Group(*parts)


def _head(found: Beside) -> list[str]:
    step, scenario = found.step, found.result.scenario
    ranks = ", ".join(str(rank.rank) for rank in step.ranks)
    of = f" of {step.world}" if step.world else ""
    device = "kernels of a GPU" if step.gpu else "ops on a CPU"
    means = f"the mean of ranks {ranks}" if len(step.ranks) > 1 else f"of rank {ranks}"
    return [
        f"{scenario.name}, beside {device} of {len(step.ranks)}{of} ranks",
        f"measured: {step.chosen}",
        f"calls, times and bytes of a rank: {means}",
    ]


def _table(found: Beside, both: list[Row]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("", no_wrap=True, min_width=_FIRST)
    for name in ("calls", "measured", "waiting", "predicted", "ratio", "bytes"):
        table.add_column(name, justify="right", no_wrap=name != "bytes", overflow="fold")
    for title, communication in (("compute", False), ("communication", True)):
        some = [row for row in both if row.communication is communication]
        if some:
            table.add_row(title)
        for row in some:
            table.add_row(f"  {row.kind}", *_cells(row))
    table.add_row("time")
    for name, *cells in _times(*found.times):
        table.add_row(f"  {name}", "", *cells)
    return table


def _cells(row: Row) -> tuple[str, ...]:
    measured, predicted = row.measured, row.predicted
    assert measured is not None and predicted is not None
    calls = _both(_count(measured.calls), _count(predicted.calls))
    waiting = time(measured.waiting) if measured.waiting else ""
    sent = [size(round(a.bytes)) if a.bytes is not None else "" for a in (measured, predicted)]
    message = (_both(*sent) if all(sent) else sent[1]) if row.communication else ""
    return (
        calls,
        time(measured.seconds),
        waiting,
        time(predicted.seconds),
        _ratio(row.ratio),
        message,
    )


def _both(first: str, second: str) -> str:
    """Return what both sides have: once where it is the same."""
    return first if first == second else f"{first} | {second}"


def _count(calls: float) -> str:
    return f"{calls:,.0f}" if calls == round(calls) else f"{calls:,.1f}"


def _ratio(ratio: float | None) -> str:
    return "" if ratio is None else f"{ratio:.2f}"


def _times(measured: Times, predicted: Times) -> list[tuple[str, ...]]:
    names = {"step": "step", "compute": "computes", "communication": "communicates",
             "exposed": "exposed"}  # fmt: skip
    lines = []
    for key, name in names.items():
        one, other = getattr(measured, key), getattr(predicted, key)
        ratio = _ratio(other / one) if one else ""
        lines.append((name, time(one), "", time(other), ratio))
    shares = (
        "-" if t.overlap is None else f"{100 * t.overlap:.0f} %" for t in (measured, predicted)
    )
    one, other = shares
    return [*lines, ("overlap", one, "", other, "")]


def _sizes(both: list[Row]) -> list[str]:
    """Return the messages of other sizes."""
    return [
        f"{row.kind} of {n:,} bytes, all ranks: {one} in the trace, {other} in the simulation"
        for row in both
        for n, one, other in row.sizes
    ]


def _alone(every: list[Row]) -> list[str]:
    """Return what only one side has: nothing is left out in silence."""
    lines = []
    for where, own, others in zip(_SIDES, ("measured", "predicted"), ("predicted", "measured"),
                                  strict=True):  # fmt: skip
        some = [row for row in every if getattr(row, others) is None]
        if some:
            lines.append(f"Only {where}, a rank:")
            lines += [f"  {row.kind}: {_told(getattr(row, own))}" for row in some]
    return lines


def _told(amount: Amount) -> str:
    names = ", ".join(name[:60] for name in amount.names)
    plural = "" if amount.calls == 1 else "s"
    return f"{_count(amount.calls)} call{plural}, {time(amount.seconds)} ({names})"


def to_dict(found: Beside) -> dict[str, Any]:
    """Return the comparison as JSON data, SI units."""
    measured, predicted = found.times
    return {
        "scenario": found.result.scenario.name,
        "step": found.step.chosen,
        "ranks": [rank.rank for rank in found.step.ranks],
        "world": found.step.world,
        "gpu": found.step.gpu,
        "files": list(found.step.names),
        "kinds": [_kind(row) for row in found.rows],
        "times": {"measured": _figures(measured), "predicted": _figures(predicted)},
    }


def _kind(row: Row) -> dict[str, Any]:
    sides = {"measured": row.measured, "predicted": row.predicted}
    amounts = {
        name: None if amount is None else amount._asdict() | {"names": list(amount.names)}
        for name, amount in sides.items()
    }
    differing = [{"bytes": n, "measured": one, "predicted": other} for n, one, other in row.sizes]
    about = {"kind": row.kind, "communication": row.communication}
    return {**about, **amounts, "ratio": row.ratio, "differing_messages": differing}


def _figures(times: Times) -> dict[str, float | None]:
    return {**times._asdict(), "overlap": times.overlap}
