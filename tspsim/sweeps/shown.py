"""The first rows of a sweep as a small table for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from textwrap import shorten

from tspsim.files.notebook import grid
from tspsim.output.units import size, time
from tspsim.sweeps.store import Row, Store
from tspsim.sweeps.values import label

#: Rows that are shown: `frame` has all.
ROWS = 20
#: Letters of a reason, likewise.
REASON = 60


def html(store: Store) -> str:
    """Return the axes and main figures of the first points."""
    axes = [axis.key for axis in store.axes]
    told = ", ".join(f"{count} {status}" for status, count in store.statuses().items())
    title = f"tspsim sweep: {store.name}, {store.count} points ({told})"
    rows = [[*_axes(row, axes), *_figures(row)] for row in islice(store.rows(), ROWS)]
    left = store.count - len(rows)
    if left > 0:
        rows.append([f"{left:,} more", *[""] * (len(axes) + 3)])
    return grid(title, [*axes, "step time", "tokens/s", "peak memory", ""], rows)


def _axes(row: Row, axes: list[str]) -> Iterator[str]:
    for key in axes:
        value = row.axes.get(key)
        yield "" if value is None else label(value)


def _figures(row: Row) -> list[str]:
    """Return what came of a point: its figures, or why there are none."""
    if not row.figures:
        return ["", "", "", shorten(f"{row.status}: {row.reason}", REASON, placeholder="...")]
    found = row.figures
    verdict = "" if row.status == "ok" else "DOES NOT FIT"
    rate = f"{found['tokens_per_second']:,.0f}"
    return [time(found["step_time"]), rate, size(found["memory.peak"]), verdict]
