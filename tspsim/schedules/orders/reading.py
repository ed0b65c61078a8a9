"""A user's own order: from a text or CSV file, one line per rank.

The CSV is what ``torch.distributed.pipelining`` (2.13) writes and reads as ``compute_only``: a cell
per slot, empty where the rank waits. In a text, spaces stand between the actions. Lines that begin
with ``#`` are comments.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.reading import UnreadableError, read_text
from tspsim.files.source import KeyPath
from tspsim.schedules.orders.actions import Action, Pair, parse
from tspsim.schedules.orders.check import Fault, OrderError, faults, first_of
from tspsim.schedules.orders.order import Order, order_of

_ACTION = re.compile(r"(?<![^\s,(;])([0-9]{1,6})[FIWB]([0-9]{1,6})(?![^\s,);])")
#: What stands between cells, or between words; a pair may hold a space after its semicolon.
_CELL = re.compile(r"\([^()]*\)[^\s,]*|[^\s,]+")


@dataclass(frozen=True, slots=True)
class Written:
    """An order as it is written, and where.

    Parameters
    ----------
    name : str
        What it is called in messages.
    rows : tuple of str
        A line of actions per rank.
    lines : tuple of int
        Their numbers in the text.
    """

    name: str
    rows: tuple[str, ...]
    lines: tuple[int, ...]

    @property
    def plain(self) -> list[str]:
        """The rows as a document has them: a space between two actions."""
        return [" ".join(_CELL.findall(row)) for row in self.rows]

    def order(self, ranks: int, microbatches: int, chunks: int) -> Order:
        """Return the order, checked.

        Parameters
        ----------
        ranks, microbatches, chunks : int
            The pipeline that it must be for.

        Raises
        ------
        OrderError
            With the place of what is wrong.
        """
        try:
            return order_of_rows(self.rows, ranks, microbatches, chunks)
        except OrderError as error:
            lines = (f"{self._place(f.rank, f.step)}: {f}" for f in error.faults)
            raise OrderError(error.faults, lines) from None

    def line(self, problem: Problem) -> str:
        """Return a mistake whose path ends in a rank, and a step, with its place in the text."""
        rank, step = (*(p for p in problem.path if isinstance(p, int)), None, None)[:2]
        return f"{self._place(rank, step)}: {Fault(problem.message, rank, step)}"

    def has(self, path: KeyPath) -> bool:
        """Whether a path leads into the rows."""
        return path[:1] == ("rows",)

    def _place(self, rank: int | None, step: int | None) -> str:
        """Return ``file:line:column`` of a step: an action, of which a pair has two."""
        if rank is None or rank >= len(self.rows):
            return self.name
        starts = [
            cell.start()
            for cell in _CELL.finditer(self.rows[rank])
            for _ in range(2 if cell[0].startswith("(") else 1)
        ]
        column = starts[step] + 1 if step is not None and step < len(starts) else 1
        return f"{self.name}:{self.lines[rank]}:{column}"


def written(text: str, name: str) -> Written:
    """Return the lines of a text that hold actions."""
    numbered = [
        (number, line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return Written(name, tuple(line for _, line in numbered), tuple(n for n, _ in numbered))


def read(path: Path, name: str | None = None) -> Written:
    """Read a file.

    Parameters
    ----------
    path : Path
    name : str, optional
        What the file is called in messages.

    Raises
    ------
    ScenarioError
        When it cannot be read.
    """
    name = name or str(path)
    try:
        return written(read_text(path, name), name)
    except UnreadableError as error:
        raise ScenarioError([str(error)]) from None


def order_of_rows(rows: Sequence[str], ranks: int, microbatches: int, chunks: int) -> Order:
    """Return the order that some rows hold, checked; see `Written.order`."""
    if len(rows) != ranks:
        message = f"{len(rows)} lines with actions; a schedule has one per rank, here {ranks}"
        raise OrderError((Fault(message),))
    wrong: list[Fault] = []
    steps = [list(_row(row, rank, wrong)) for rank, row in enumerate(rows)]
    if wrong:
        raise OrderError(first_of(wrong))
    order = order_of(steps, _placement(steps, ranks * chunks), microbatches)
    if found := faults(order):
        raise OrderError(_of_other_size(order) or found)
    return order


def _of_other_size(order: Order) -> tuple[Fault, ...]:
    """Return that an order which cannot run could with another number of micro-batches."""
    others = len({action.microbatch for row in order.rows for action in row})
    if faults(replace(order, microbatches=max(1, others))):
        return ()
    message = f"a schedule of {others} micro-batches; {order.microbatches} are to run"
    return (Fault(message),)


def named(rows: Sequence[str]) -> tuple[int, int]:
    """Return how many stages and how many micro-batches some rows name."""
    found = [match for row in rows for match in _ACTION.findall(row)]
    return len({stage for stage, _ in found}), len({microbatch for _, microbatch in found})


def text_of(order: Order, separator: str = " ") -> str:
    """Return an order as a text, or with commas as a CSV, that is read back as the same one."""
    return "".join(f"{row.replace(' ', separator)}\n" for row in str(order).splitlines())


def _row(row: str, rank: int, wrong: list[Fault]) -> Iterator[Action | Pair]:
    step = 0
    for cell in _CELL.finditer(row):
        try:
            yield parse(cell[0])
        except ValueError as error:
            wrong.append(Fault(f"'{cell[0]}': {error}", rank, step))
        step += 2 if cell[0].startswith("(") else 1


def _placement(rows: Sequence[Sequence[Action | Pair]], stages: int) -> tuple[int, ...]:
    """Return the rank of each stage: the one that has most of its actions."""
    found: dict[int, Counter[int]] = {}
    for rank, row in enumerate(rows):
        for step in row:
            for action in step if isinstance(step, Pair) else (step,):
                found.setdefault(action.stage, Counter())[rank] += 1
    most = {stage: max(count, key=lambda rank: count[rank]) for stage, count in found.items()}
    return tuple(most.get(stage, stage % len(rows)) for stage in range(stages))
