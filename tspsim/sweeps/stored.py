"""What a sweep's store holds, held against its form: the file may be torn, or somebody else's."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationError

from tspsim.files import faults
from tspsim.files.errors import OutputError
from tspsim.files.names import Name
from tspsim.files.reading import parse_json
from tspsim.files.source import dotted
from tspsim.scenario.section import Count, Section
from tspsim.sweeps.columns import COLUMNS, INTERVAL
from tspsim.sweeps.samples import Method

#: Differences named when a store is of another study.
_NAMED = 4
#: What became of a point.
STATUSES = frozenset({"ok", "unfit", "invalid", "failed"})
#: Those that ran, and have figures.
RAN = frozenset({"ok", "unfit"})
#: Columns that are no number, or may be empty.
_TYPES: Mapping[str, type] = {"mesh": str, "fits": bool}
_EMPTY = frozenset({"mfu", "hfu", *INTERVAL})
#: Columns of every row that ran, and how those begin that only some rows have.
_ALWAYS = frozenset(c for c in COLUMNS if not c.endswith("*")) - {"status", "reason", "hash"}
_NEEDED = _ALWAYS - set(INTERVAL)  # which stores of before have not
_PARTS = tuple(c.removesuffix("*") for c in COLUMNS if c.endswith("*"))

#: Id, axes, status, reason, hash and figures of a point.
Cells = tuple[int, Any, str, str, str, Any]


class StudyForm(Section):
    """`tspsim.sweeps.study.Study.document`."""

    scenario: dict[str, Any]
    axes: dict[str, Any] = Field(min_length=1)
    link: list[list[str]] = Field(default_factory=list)
    samples: Annotated[tuple[Method, Count, int], Field(strict=False)] | None = None
    where: list[str] = Field(default_factory=list)


class AboutForm(Section):
    """What the sweep is of."""

    format: int
    version: str
    name: Name
    count: Count
    study: StudyForm


def about(cells: Sequence[tuple[Any, Any]], place: str) -> dict[str, Any]:
    """Return what the cells of the table ``about`` say; what they say is not checked yet."""
    return {_text(key, "key", place): parse_json(_text(value, str(key), place), f"{place}: {key}")
            for key, value in cells}  # fmt: skip


def check_about(found: Mapping[str, Any], place: str) -> None:
    """Raise unless what a store says of itself has its form.

    Raises
    ------
    OutputError
        It names the first thing that is wrong.
    """
    try:
        AboutForm.model_validate(found)
    except ValidationError as error:
        told = dotted(faults.problems(error, AboutForm, found)[0])
        raise OutputError(f"{place}: is no sweep of tspsim, or a damaged one: {told}") from None


def row(cells: Sequence[Any], place: str) -> Cells:
    """Return the cells of the table ``points`` as `tspsim.sweeps.store.Row` takes them.

    Raises
    ------
    OutputError
        When a cell is no text, or no JSON where it should be.
    """
    here = f"{place}: point {cells[0]}"
    names = ("axes", "status", "reason", "hash", "figures")
    texts = {name: _text(cell, name, here) for name, cell in zip(names, cells[1:], strict=True)}
    at, figures = (parse_json(texts[name], f"{here}: {name}") for name in ("axes", "figures"))
    return cells[0], at, texts["status"], texts["reason"], texts["hash"], figures


def check_row(row: Cells, axes: Collection[str], place: str) -> None:
    """Raise unless a row is one that a sweep along some axes writes.

    Raises
    ------
    OutputError
        It names the row and what is wrong.
    """
    point, at, status, _, _, figures = row
    here = f"{place}: point {point}"
    if status not in STATUSES:
        raise _damaged(here, f"status: '{status}'; known: {', '.join(sorted(STATUSES))}")
    if not isinstance(at, dict) or at.keys() != set(axes):
        raise _damaged(here, f"axes: a value is needed for each of {', '.join(axes)}")
    for key, value in at.items():
        if isinstance(value, int) and abs(value) > sys.float_info.max:
            raise _damaged(here, f"axes: {key}: {faults.found(value)}")
    if wrong := _wrong(figures, ran=status in RAN):
        raise _damaged(here, f"figures: {wrong}")


def _wrong(figures: Any, *, ran: bool) -> str:
    """Return what is wrong with the figures of a row, or nothing."""
    if not isinstance(figures, dict):
        return "a mapping is needed"
    if figures and not ran:
        return "nothing ran, so there are none"
    if ran and (missing := _NEEDED - figures.keys()):
        return f"'{min(missing)}' is missing"
    for key, value in figures.items():
        if key not in _ALWAYS and not key.startswith(_PARTS):
            return f"'{key}' is no column"
        if not _is_right(key, value):
            return f"{key}: {faults.found(value)}"
    return ""


def _is_right(key: str, value: Any) -> bool:
    if key in _TYPES:
        return isinstance(value, _TYPES[key])
    number = isinstance(value, int | float) and not isinstance(value, bool)
    # Compared before it is made a float: JSON has whole numbers that no float holds.
    finite = number and abs(value) <= sys.float_info.max
    return finite or (value is None and key in _EMPTY)


def differences(there: Any, here: Any, path: str = "") -> list[str]:
    """Return lines that name the first few keys in which two studies differ."""
    if isinstance(there, dict) and isinstance(here, dict):
        found: list[str] = []
        for key in dict.fromkeys([*there, *here]):
            inner = f"{path}.{key}" if path else str(key)
            found += differences(there.get(key), here.get(key), inner)
        if len(found) > _NAMED and not path:
            return [*found[:_NAMED], f"and {len(found) - _NAMED} more"]
        return found
    if there == here:
        return []
    return [f"{path.removeprefix('scenario.')} is {_shown(there)} there and {_shown(here)} here"]


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(cell: Any, name: str, place: str) -> str:
    if not isinstance(cell, str):
        raise _damaged(place, f"{name}: {faults.found(cell)}; must be text")
    return cell


def _damaged(place: str, what: str) -> OutputError:
    return OutputError(f"{place}: is no row of a sweep, or a damaged one: {what}")
