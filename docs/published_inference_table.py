"""The tables of docs/inference-published.md: published times of inference, as foreseen.

``python docs/refresh.py inference`` plays them all and writes both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tspsim.calibrate.published.inference import (
    Foreseen,
    crossing,
    foresee,
    load,
    pairs,
    quality,
    write,
    written,
)

PAGE = Path(__file__).parent / "inference-published.md"
RESULTS = PAGE.parent / "inference-published.csv"
PUBLISHED = PAGE.parent.parent / "published"
_TABLE = re.compile(r"(<!-- table: inference (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

#: Where keys and values, and queries, are passed for the same shares of new tokens.
PASSED = "TTFT of table 4, 128,000 tokens on four nodes"

_BATCHES = (1, 16, 32, 64)


def play() -> None:
    """Play every row again, and write what comes of it."""
    write([foresee(row) for row in load(PUBLISHED)], RESULTS)


def summary(rows: Sequence[Foreseen]) -> Iterator[str]:
    """Yield a line for every table of every source."""
    yield "| source | table | rows that check | off | bias | beyond 10 %, 15 % | in order |"
    yield "|---|---|---|---|---|---|---|"
    for source, table in dict.fromkeys((row.source, row.table) for row in rows):
        some = [row for row in rows if (row.source, row.table) == (source, table)]
        found, (count, ordered) = quality(some), pairs(some)
        yield (
            f"| {source} | {table} | {found.rows} | {100 * found.error:.1f} % | "
            f"{100 * found.bias:+.1f} % | {found.beyond_10}, {found.beyond_15} | "
            f"{ordered} of {count} |"
        )


def by_row(rows: Sequence[Foreseen]) -> Iterator[str]:
    """Yield a line for every row of tables, with their titles."""
    for table in dict.fromkeys(row.table for row in rows):
        yield f"| {table} | measured | predicted | |"
        yield "|---|---|---|---|"
        for row in rows:
            if row.table == table:
                fitted = ", fitted to" if row.use == "fit" else ""
                times = f"{_time(row.measured)} | {_time(row.predicted)}"
                yield f"| {row.name} | {times} | {_error(row)}{fitted} |"
        yield ""


def by_batch(rows: Sequence[Foreseen]) -> Iterator[str]:
    """Yield a line for every model, degree and length, with a column a batch."""
    cells = {(row.table, *_case(row)): row for row in rows}
    for engine in dict.fromkeys(row.table for row in rows):
        yield f"| {engine} | tokens | {' | '.join(f'batch {b}' for b in _BATCHES)} |"
        yield "|---" * (2 + len(_BATCHES)) + "|"
        last = None
        for layout, length in dict.fromkeys(key[1:3] for key in cells if key[0] == engine):
            found = (cells.get((engine, layout, length, batch)) for batch in _BATCHES)
            shown = " | ".join(_cell(row) for row in found)
            yield f"| {layout if layout != last else ''} | {length} | {shown} |"
            last = layout
        yield ""


def crossings(rows: Sequence[Foreseen]) -> Iterator[str]:
    """Yield between which shares of new tokens passing keys becomes faster, and the ratios."""
    some = [row for row in rows if row.table == PASSED]
    places = [crossing(some, predicted=predicted) for predicted in (False, True)]
    measured, found = (" and ".join(f"{100 * share:g} %" for share in place) for place in places)
    yield f"**pass-KV becomes the faster one between {measured} new tokens; predicted: {found}.**"
    yield ""
    yield "| new tokens | pass-KV / pass-Q, measured | predicted |"
    yield "|---|---|---|"
    by_name = {row.name: row for row in some}
    for name in [name for name in by_name if name.startswith("pass-KV")]:
        keys, queries = by_name[name], by_name[name.replace("pass-KV", "pass-Q")]
        ratios = keys.measured / queries.measured, keys.predicted / queries.predicted
        yield f"| {name.split(', ')[1]} | {ratios[0]:.3f} | {ratios[1]:.3f} |"


def _case(row: Foreseen) -> tuple[str, int, int]:
    """Return layout, tokens and sequences of a row that is named ``model, tp 2, ...``."""
    model, degree, tokens, batch = row.name.split(", ")
    return f"{model}, {degree}", int(tokens.split()[0]), int(batch.split()[1])


def _cell(row: Foreseen | None) -> str:
    if row is None:
        return ""
    if row.use == "left out":
        return f"{_time(row.measured)}, in waves"
    return f"{_time(row.measured)}, {_time(row.predicted)}: {_error(row)}"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 0.5 else f"{1e3 * seconds:.1f} ms"


def _error(row: Foreseen) -> str:
    return f"{100 * row.error:+.0f} %"


#: What stands where, of which sources.
_TABLES = {
    "summary": (summary, ""),
    "context-parallel": (by_row, "meta-context-parallel"),
    "passing": (crossings, "meta-context-parallel"),
    "batches": (by_batch, "llm-inference-bench"),
    "second-hand": (by_row, "imec-llama-2"),
}


def table(name: str, rows: Sequence[Foreseen]) -> str:
    """Return a table by its name on the page."""
    made, source = _TABLES[name]
    return "\n".join(made([row for row in rows if not source or row.source == source])).rstrip()


def renewed(text: str) -> str:
    """Return the page with the tables as they are now."""
    rows = written(RESULTS)
    return _TABLE.sub(lambda found: f"{found[1]}\n{table(found[2], rows)}\n\n{found[3]}", text)
