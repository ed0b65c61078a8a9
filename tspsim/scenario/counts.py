"""A user's own counts of tokens by layer and expert, from a file: what a hook of a router wrote.

A CSV has a header with ``layer``, ``expert`` and ``tokens``, and a line for every expert of every
layer; other columns are passed over. A JSON file holds the matrix: a row of every expert's tokens
for every layer with experts, as ``torch.bincount(...).tolist()`` gives it. Whole numbers may be
written as floats, which ``torch.histc`` and pandas make of them.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.faults import found
from tspsim.files.reading import UnreadableError, parse_json, read_text
from tspsim.files.source import KeyPath
from tspsim.scenario.section import MOST

COLUMNS = ("layer", "expert", "tokens")
#: Faults of a file that are told; a file of another kind has one on every line.
_TOLD = 5
_WHOLE = re.compile(r"[0-9]{1,15}(\.0*)?")
_ALLOWED = "must be a whole number from 0 to 1e15"

#: By expert: its tokens, and the line that has them.
Layer = dict[int, tuple[int, int]]


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """Tokens by layer and expert, and where they stand.

    Parameters
    ----------
    name : str
        What the file is called in messages.
    table : list of list of int
        Tokens of every expert: a row per layer.
    layers : list of int or None
        The layers of the rows; None: the file does not say, they are those with experts in order.
    lines : list of list of int
        The line of every number; empty where it would say nothing.
    """

    name: str
    table: list[list[int]]
    layers: list[int] | None = None
    lines: Sequence[Sequence[int]] = ()

    @property
    def plain(self) -> dict[str, Any]:
        """The keys of ``workload.routing`` that say the same without the file."""
        return {"table": self.table} | ({} if self.layers is None else {"layers": self.layers})

    def line(self, problem: Problem) -> str:
        """Return a mistake whose path ends in a row, and an expert, with its place."""
        row, expert = (*(p for p in problem.path if isinstance(p, int)), None, None)[:2]
        if row is None or row >= len(self.table):
            return f"{self.name}: {problem.message}"
        place = f":{self.lines[row][expert or 0]}" if self.lines else ""
        what = f"row {row}" if self.layers is None else f"layer {self.layers[row]}"
        what += f", expert {expert}" if expert is not None else ""
        return f"{self.name}{place}: {what}: {problem.message}"

    def has(self, path: KeyPath) -> bool:
        """Whether a path leads into what the file holds."""
        return path[:1] in (("table",), ("layers",))


def read(path: Path, name: str | None = None) -> Counts:
    """Read a file.

    Parameters
    ----------
    path : Path
    name : str, optional
        What the file is called in messages.

    Raises
    ------
    ScenarioError
        When it cannot be read, or holds something else.
    """
    name = name or str(path)
    try:
        text = read_text(path, name)
        if text.lstrip()[:1] in ("[", "{"):
            return _of_matrix(parse_json(text, name), name)
        return _of_csv(text, name)
    except (UnreadableError, csv.Error) as error:
        told = f"{name}: not a CSV: {error}" if isinstance(error, csv.Error) else str(error)
        raise ScenarioError([told]) from None


def _of_matrix(data: Any, name: str) -> Counts:
    if not isinstance(data, list) or not data:
        what = "found an empty list" if data == [] else found(data)
        told = "must be a list with a row for every layer with experts: the tokens of each expert"
        raise ScenarioError([f"{name}: {what}; {told}"])
    _refuse(name, _faults_of_matrix(data))
    return Counts(name, [[int(tokens) for tokens in row] for row in data])


def _faults_of_matrix(data: Sequence[Any]) -> Iterator[str]:
    for number, row in enumerate(data):
        if not isinstance(row, list):
            yield f": row {number}: {found(row)}; must be a list of every expert's tokens"
            continue
        for expert, tokens in enumerate(row):
            if not _is_whole(tokens):
                yield f": row {number}, expert {expert}: {found(tokens)}; {_ALLOWED}"


def _is_whole(value: Any) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and 0 <= value <= MOST and value == int(value)


def _of_csv(text: str, name: str) -> Counts:
    reader = csv.reader(text.splitlines(), strict=True, skipinitialspace=True)
    header = [cell.strip() for cell in next(reader, [])]
    if any(header.count(column) != 1 for column in COLUMNS):
        told = f"found {', '.join(header)[:60] or 'nothing'}"
        allowed = f"must be a header with {', '.join(COLUMNS)}, or a JSON list of lists"
        raise ScenarioError([f"{name}:1: {told}; {allowed}"])
    layers: dict[int, Layer] = {}
    rows = ((reader.line_num, cells) for cells in reader if any(map(str.strip, cells)))
    _refuse(name, _take(rows, header, layers))
    if not layers:
        raise ScenarioError([f"{name}: found a header alone; must have a line for every expert"])
    _refuse(name, _gaps(layers))
    ordered = [(number, sorted(layers[number].items())) for number in sorted(layers)]
    return Counts(
        name,
        [[tokens for _, (tokens, _) in experts] for _, experts in ordered],
        [number for number, _ in ordered],
        [[line for _, (_, line) in experts] for _, experts in ordered],
    )


def _take(
    rows: Iterator[tuple[int, list[str]]], header: Sequence[str], into: dict[int, Layer]
) -> Iterator[str]:
    """Put the lines of a CSV into layers; yield what is wrong with them."""
    for line, cells in rows:
        if len(cells) != len(header):
            yield f":{line}: found {len(cells)} cells; the header has {len(header)}"
            continue
        named = {column: cells[header.index(column)].strip() for column in COLUMNS}
        wrong = {column: cell for column, cell in named.items() if not _WHOLE.fullmatch(cell)}
        yield from (f":{line}: {key}: {found(cell)}; {_ALLOWED}" for key, cell in wrong.items())
        if wrong:
            continue
        layer, expert, tokens = (int(named[column].partition(".")[0]) for column in COLUMNS)
        experts = into.setdefault(layer, {})
        if expert in experts:
            told = f"layer {layer}, expert {expert} stands in line {experts[expert][1]} already"
            yield f":{line}: {told}; must stand once: add up its tokens"
        experts.setdefault(expert, (tokens, line))


def _gaps(layers: Mapping[int, Layer]) -> Iterator[str]:
    """Yield the layers whose experts are not 0, 1, 2..."""
    for layer, experts in layers.items():
        last = max(experts)
        if last >= len(experts):
            gap = next(expert for expert in range(last) if expert not in experts)
            told = f"layer {layer}: found expert {last} and no expert {gap}"
            allowed = "they count from 0, and one without tokens has a line with 0"
            yield f":{experts[last][1]}: {told}; {allowed}"


def _refuse(name: str, faults: Iterator[str]) -> None:
    """Raise when there are faults, with the first of them."""
    told = [f"{name}{fault}" for fault in faults]
    if len(told) > _TOLD:
        told = [*told[:_TOLD], f"{name}: and {len(told) - _TOLD} more"]
    if told:
        raise ScenarioError(told)
