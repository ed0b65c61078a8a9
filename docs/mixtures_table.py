"""The table of docs/mixtures.md: published steps of mixtures of experts, as foreseen.

``python docs/refresh.py mixtures`` plays them all and writes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean

from tspsim.calibrate.published.mixtures import Foreseen, foresee, load, pairs, write, written
from tspsim.topology.load import parse_profile
from tspsim.topology.whole_steps import interval

PAGE = Path(__file__).parent / "mixtures.md"
RESULTS = PAGE.parent / "mixtures.csv"
PUBLISHED = PAGE.parent.parent / "published"
_TABLE = re.compile(r"(<!-- table: mixtures -->\n).*?(<!-- end of table -->)", re.DOTALL)


def play() -> None:
    """Play every row again, and write what comes of it."""
    write([foresee(row) for row in load(PUBLISHED)], RESULTS)


def table(rows: tuple[Foreseen, ...]) -> Iterator[str]:
    """Yield the lines of the table: a row a step, and what all of them say."""
    yield "| model | method | MFU, measured | predicted | | if also tuned | peak memory |"
    yield "|---|---|---|---|---|---|---|"
    last = None
    for row in rows:
        yield f"| {row.model if row.model != last else ''} {_cells(row)}"
        last = row.model
    yield ""
    yield f"**{figures(rows)}.**"


def figures(rows: Sequence[Foreseen]) -> str:
    """Return what all rows say, in a sentence without its full stop."""
    errors = [row.error for row in rows if row.error is not None]
    near = sum(row.near for row in rows if row.measured)
    count, ordered = pairs(rows)
    return (
        f"{near} of {len(errors)} MFUs within 15 %, {100 * mean(map(abs, errors)):.1f} % off on "
        f"average; {ordered} of {count} pairs of methods in the measured order; "
        f"{_inside(errors, experts=True)} of {len(errors)} inside the 80 % interval that is made "
        f"of them, {_inside(errors, experts=False)} inside that of steps of dense models. "
        f"{_tuned([row for row in rows if row.measured and row.otherwise])}"
    )


def _inside(errors: Sequence[float], *, experts: bool) -> int:
    """Return how many MFUs lie as far off as an interval of times has it."""
    steps = parse_profile("h100-published").value().steps
    known = interval(steps, "megatron", nodes=2, experts=experts)
    return sum(known is not None and known.low <= 1 + error <= known.high for error in errors)


def _tuned(rows: Sequence[Foreseen]) -> str:
    moved = [replace(row, predicted=row.otherwise or row.predicted) for row in rows]
    errors = [row.error or 0.0 for row in moved]
    count, ordered = pairs(moved)
    return (
        f"If also tuned: {sum(row.near for row in moved)} of {len(moved)} within 15 %, "
        f"{100 * mean(errors):+.1f} % off on average; {ordered} of {count} in order"
    )


def _cells(row: Foreseen) -> str:
    measured = "did not fit" if row.measured is None else f"{100 * row.measured:.1f} %"
    error = "" if row.error is None else f"{100 * row.error:+.0f} %"
    far = "" if row.near else f"{', ' if error else ''}**missed**"
    memory = f"{row.memory / 1e9:.0f} GB{'' if row.fits else ', does not fit'}"
    tuned = "" if row.otherwise is None else f"{100 * row.otherwise:.1f} %"
    figures = f"{measured} | {100 * row.predicted:.1f} % | {error}{far} | {tuned} | {memory}"
    return f"| {row.method} | {figures} |"


def renewed(text: str) -> str:
    """Return the page with the table as it is now."""
    made = "\n".join(table(written(RESULTS)))
    return _TABLE.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)
