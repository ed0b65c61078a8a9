"""A user's own order: from a text or CSV file, one line per rank.

The CSV is what ``torch.distributed.pipelining`` (2.13) writes and reads as ``compute_only``: a cell
per slot, empty where the rank waits. In a text, spaces stand between the actions. Lines that begin
with ``#`` are comments.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from tspsim.files.errors import ScenarioError
from tspsim.files.reading import UnreadableError, read_text
from tspsim.schedules.orders.actions import Action, Pair, parse
from tspsim.schedules.orders.check import check, first_of
from tspsim.schedules.orders.order import Order, order_of

#: What stands between cells, or between words; a pair may hold a space after its semicolon.
_CELL = re.compile(r"\([^()]*\)[^\s,]*|[^\s,]+")


def read(path: Path, ranks: int, microbatches: int, chunks: int, name: str | None = None) -> Order:
    """Read, parse and check a file.

    Parameters
    ----------
    path : Path
    ranks, microbatches, chunks : int
        The pipeline that it must be for.
    name : str, optional
        What the file is called in messages.

    Raises
    ------
    ScenarioError
        With the place of what is wrong.
    OrderError
        When the order that it holds cannot run.
    """
    name = name or str(path)
    try:
        text = read_text(path, name)
    except UnreadableError as error:
        raise ScenarioError([str(error)]) from None
    return parsed(text, ranks, microbatches, chunks, name)


def parsed(text: str, ranks: int, microbatches: int, chunks: int, name: str) -> Order:
    """Return the order that a text holds, checked; see `read`."""
    lines = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    if len(lines) != ranks:
        found = f"{len(lines)} lines with actions"
        raise ScenarioError([f"{name}: {found}; a schedule has one per rank, here {ranks}"])
    wrong: list[str] = []
    rows = [list(_row(line, f"{name}:{number}", wrong)) for number, line in lines]
    if wrong:
        raise ScenarioError(first_of(iter(wrong)))
    order = order_of(rows, _placement(rows, ranks * chunks), microbatches)
    check(order, name)
    return order


def _row(line: str, place: str, wrong: list[str]) -> Iterator[Action | Pair]:
    for cell in _CELL.finditer(line):
        try:
            yield parse(cell[0])
        except ValueError as error:
            wrong.append(f"{place}:{cell.start() + 1}: '{cell[0]}': {error}")


def _placement(rows: Sequence[Sequence[Action | Pair]], stages: int) -> tuple[int, ...]:
    """Return the rank of each stage: that of its first action, as torch infers it."""
    found: dict[int, int] = {}
    for rank, row in enumerate(rows):
        for step in row:
            for action in step if isinstance(step, Pair) else (step,):
                found.setdefault(action.stage, rank)
    return tuple(found.get(stage, stage % len(rows)) for stage in range(stages))
