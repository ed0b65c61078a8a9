"""Reads a trace of requests: a CSV file of arrivals (seconds), prompts and new tokens."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tspsim.engine.serving.types import Request
from tspsim.files.errors import UserError, did_you_mean
from tspsim.files.faults import found
from tspsim.files.numbers import plain
from tspsim.files.reading import STORED, UnreadableError, read_text
from tspsim.serving.arrivals import Traffic
from tspsim.serving.lengths import LONGEST

COLUMNS = ("arrival", "prompt", "new_tokens")
#: Mistakes that are told; a file of another kind has one in every row.
TOLD = 10
#: Seconds: a century.
LATEST = 3.2e9

_WHOLE = re.compile(r"\+?\d{1,9}")


def read_trace(path: Path) -> Traffic:
    """Return the requests of a trace.

    Parameters
    ----------
    path : Path
        CSV with a header that has `COLUMNS`, in any order and beside others; rows in the order of
        arrival.

    Raises
    ------
    UserError
        With every row that is none: what was found, what is allowed.
    """
    text = read_text(path, most=STORED)
    rows = csv.reader(io.StringIO(text, newline=""), strict=True)
    reader = _Reader(str(path))
    try:
        for cells in rows:
            reader.take(cells, rows.line_num)
    except csv.Error as error:
        raise UnreadableError(f"{path}:{rows.line_num}: no CSV: {error}") from None
    return reader.traffic()


@dataclass(slots=True)
class _Reader:
    """Goes through the rows of one file."""

    name: str
    header: list[str] | None = None
    requests: list[Request] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)

    def take(self, cells: list[str], line: int) -> None:
        """Take one row; blank lines are none."""
        if not any(cell.strip() for cell in cells):
            return
        if self.header is None:
            self._take_header([cell.strip() for cell in cells], line)
            return
        mistakes = list(self._mistakes(cells))
        self.wrong.extend(f"{self.name}:{line}: {mistake}" for mistake in mistakes)
        if not mistakes:
            arrival, prompt, new_tokens = self._cells(cells)
            self.requests.append(Request(float(arrival), int(prompt), int(new_tokens)))
            self.lines.append(line)

    def traffic(self) -> Traffic:
        """Return what was read.

        Raises
        ------
        UserError
            When a row is wrong, or there is none.
        """
        if self.wrong:
            more = len(self.wrong) - TOLD
            rest = [f"{self.name}: and {more:,} more"] if more > 0 else []
            raise UserError("\n".join([*self.wrong[:TOLD], *rest]))
        if not self.requests:
            raise UserError(
                f"{self.name}: no requests; expected a header {','.join(COLUMNS)} and rows such as "
                "0.25,512,128 (seconds, tokens, tokens)"
            )
        return Traffic(tuple(self.requests), self.name, lines=tuple(self.lines))

    def _take_header(self, names: list[str], line: int) -> None:
        self.header = names
        missing = [name for name in COLUMNS if name not in names]
        if missing:
            near = "".join(did_you_mean(name, missing) for name in names if name not in COLUMNS)
            raise UserError(
                f"{self.name}:{line}: no column {', '.join(missing)}; found "
                f"{', '.join(found(name).removeprefix('found ') for name in names)}{near}; "
                f"the first row must name {', '.join(COLUMNS)}"
            )

    def _cells(self, cells: list[str]) -> list[str]:
        assert self.header is not None
        return [cells[self.header.index(name)].strip() for name in COLUMNS]

    def _mistakes(self, cells: list[str]) -> Iterator[str]:
        """Yield what is wrong with a row."""
        assert self.header is not None
        if len(cells) != len(self.header):
            yield f"found {len(cells)} cells; the header has {len(self.header)}"
            return
        arrival, *tokens = self._cells(cells)
        last = self.requests[-1].arrival if self.requests else 0.0
        allowed = f"seconds from {plain(last)} on" + (", the row above's" if self.requests else "")
        if not last <= _seconds(arrival) <= LATEST:
            yield f"arrival: {found(arrival)}; must be {allowed}"
        for name, cell in zip(COLUMNS[1:], tokens, strict=True):
            if not (_WHOLE.fullmatch(cell) and 1 <= int(cell) <= LONGEST):
                yield f"{name}: {found(cell)}; must be a whole number from 1 to {LONGEST:,}"


def _seconds(cell: str) -> float:
    """Return a number, or one that no order has a place for."""
    try:
        return float(cell)
    except ValueError:
        return math.nan
