"""The table of docs/mixtures.md: published steps of mixtures of experts, as foreseen.

``python docs/refresh.py mixtures`` plays them all and writes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from tspsim.calibrate.published.mixtures import Foreseen, foresee, load, pairs, write, written

PAGE = Path(__file__).parent / "mixtures.md"
RESULTS = PAGE.parent / "mixtures.csv"
PUBLISHED = PAGE.parent.parent / "published"
_TABLE = re.compile(r"(<!-- table: mixtures -->\n).*?(<!-- end of table -->)", re.DOTALL)


def play() -> None:
    """Play every row again, and write what comes of it."""
    write([foresee(row) for row in load(PUBLISHED)], RESULTS)


def table(rows: tuple[Foreseen, ...]) -> Iterator[str]:
    """Yield the lines of the table: a row a step, and what all of them say."""
    yield "| model | method | MFU, measured | predicted | | peak memory |"
    yield "|---|---|---|---|---|---|"
    last = None
    for row in rows:
        yield f"| {row.model if row.model != last else ''} {_cells(row)}"
        last = row.model
    timed = [row for row in rows if row.measured]
    near = sum(row.near for row in timed)
    count, ordered = pairs(rows)
    mean = sum(abs(row.error or 0.0) for row in timed) / len(timed)
    yield ""
    yield f"**{near} of {len(timed)} MFUs within 15 %, {100 * mean:.1f} % off on average;"
    yield f"{ordered} of {count} pairs of methods in the measured order.**"


def _cells(row: Foreseen) -> str:
    measured = "did not fit" if row.measured is None else f"{100 * row.measured:.1f} %"
    error = "" if row.error is None else f"{100 * row.error:+.0f} %"
    far = "" if row.near else ", **missed**"
    memory = f"{row.memory / 1e9:.0f} GB{'' if row.fits else ', does not fit'}"
    return f"| {row.method} | {measured} | {100 * row.predicted:.1f} % | {error}{far} | {memory} |"


def renewed(text: str) -> str:
    """Return the page with the table as it is now."""
    made = "\n".join(table(written(RESULTS)))
    return _TABLE.sub(lambda found: f"{found[1]}\n{made}\n\n{found[2]}", text)
