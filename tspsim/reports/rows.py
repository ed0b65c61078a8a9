"""Rows of name, value, share and bar: what the parts of an explanation are printed as."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from rich.table import Table
from rich.text import Text

from tspsim.output.units import share, time

#: Widths of the first and the last column: all columns together stay below 80.
NAME, BAR = 38, 14
#: Lines of a part of the table, at most; the rest is added up.
LISTED = 6

Row = tuple[str, str, str, str]


def bars(
    found: Mapping[str, float],
    whole: float,
    longest: float | None = None,
    form: Callable[[float], str] = time,
) -> list[Row]:
    """Return a row per name, indented, with its share and a bar; small ones are added up."""
    items = list(found.items())
    shown, rest = (
        (items, []) if len(items) <= LISTED else (items[: LISTED - 1], items[LISTED - 1 :])
    )
    rows = [
        (f"  {name}", form(amount), share(amount, whole), bar(amount, longest or whole))
        for name, amount in shown
    ]
    if rest:
        amount = sum(amount for _, amount in rest)
        deeper = "  " if shown[0][0].startswith("  ") else ""
        name = f"  {deeper}{len(rest)} others"
        rows.append((name, form(amount), share(amount, whole), bar(amount, longest or whole)))
    return rows


def bar(part: float, whole: float) -> str:
    """Return a bar with half-block resolution."""
    halves = round(2 * BAR * part / whole) if whole else 0
    return "━" * (halves // 2) + "╸" * (halves % 2)


def table(rows: Iterable[Row]) -> Table:
    """Return rows of name, value, share, bar; a row's name is bold unless it is indented."""
    made = Table.grid(padding=(0, 2))
    made.add_column(width=NAME, no_wrap=True, overflow="ellipsis")
    made.add_column(width=12, justify="right", no_wrap=True)
    made.add_column(width=8, justify="right", no_wrap=True)
    made.add_column(width=BAR, no_wrap=True, overflow="ellipsis")
    for name, *values in rows:
        made.add_row(Text(name, style="" if name.startswith(" ") else "bold"), *values)
    return made
