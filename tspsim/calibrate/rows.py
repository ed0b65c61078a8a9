"""Raw rows of a calibration: JSON lines, one measured case each, every repeat kept.

``machine.json`` says where and with what; ``rows.jsonl`` holds the cases. Rows are only ever
appended, so a run that was cut off is taken up where it stopped.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tspsim.calibrate.forms import CASES, MachineForm, RowForm, wrong
from tspsim.files.errors import TspsimError, UserError
from tspsim.files.faults import found
from tspsim.files.reading import STORED, is_there, parse_json, read_bytes, read_json, read_text
from tspsim.files.writing import make_folder, write_text

#: Version of the form of rows; a reader refuses any other.
VERSION = 1

Use = Literal["fit", "held_out"]
Kind = Literal["op", "collective", "overlap", "block"]


class CalibrationError(TspsimError):
    """A measurement that failed, or rows that do not fit together."""


@dataclass(frozen=True, slots=True)
class Machine:
    """Where rows were measured, and with what.

    Parameters
    ----------
    device : str
        Name of the processor or accelerator.
    cores : int
        Cores (or accelerators) that ranks share.
    memory : int
        Bytes of device memory.
    system : str
        Kernel.
    versions : dict of str to str
        Packages that could change a time.
    backend : str
        ``"gloo"`` or ``"nccl"``.
    link : str
        ``"namespaces"`` (a rate is enforced), ``"loopback"`` or ``"device"``.
    rate : float or None
        Bits/s of every rank's way out; None where none is enforced.
    dtype : str
        Of all measured tensors.
    """

    device: str
    cores: int
    memory: int
    system: str
    versions: dict[str, str]
    backend: str
    link: str
    rate: float | None
    dtype: str = "fp32"

    def differences(self, other: Machine) -> list[str]:
        """Return what another machine has different, in words."""
        mine, theirs = asdict(self), asdict(other)
        return [
            f"{key}: {mine[key]!r} there, {theirs[key]!r} here"
            for key in mine
            if mine[key] != theirs[key]
        ]


@dataclass(frozen=True, slots=True)
class Row:
    """One measured case.

    Parameters
    ----------
    kind : {"op", "collective", "overlap", "block"}
    case : dict
        What was measured: names and sizes, JSON-able; equal cases are the same measurement.
    use : {"fit", "held_out"}
        Constants are fitted to the one, and their error is told on the other.
    seconds : tuple of float
        Every repeat. Of several ranks: from the last one's start to the last one's end.
    load : float
        Load average of one minute when the row began.
    clock : float or None
        MHz of the processor, where the system tells.
    at : float
        Unix time.
    timeline : list
        Blocks: per rank ``[lane, name, start, end]`` of every op of one repeat, in seconds.
    notes : dict
        Further figures, such as a control measured beside it.
    """

    kind: Kind
    case: dict[str, Any]
    use: Use
    seconds: tuple[float, ...]
    load: float = 0.0
    clock: float | None = None
    at: float = 0.0
    timeline: list[list[list[Any]]] = field(default_factory=list)
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """What tells this case from others."""
        return key(self.kind, self.case)

    @property
    def median(self) -> float:
        """The median of the repeats: one lost scheduler slice must not decide."""
        return statistics.median(self.seconds)


def key(kind: str, case: Mapping[str, Any]) -> str:
    """Return the name of a case, the same for equal ones."""
    return kind + " " + json.dumps(case, sort_keys=True, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class Rows:
    """All rows of a calibration, with the machine that they are from."""

    machine: Machine
    rows: tuple[Row, ...]

    def of(self, kind: Kind, use: Use | None = None) -> list[Row]:
        """Return the rows of a kind, in the order in which they were measured."""
        return [row for row in self.rows if row.kind == kind and use in (None, row.use)]


def write_machine(folder: Path, machine: Machine) -> None:
    """Write down the machine that the rows of a folder are from.

    Raises
    ------
    CalibrationError
        When rows of another machine lie there already; it names the difference.
    OutputError
        When the folder cannot be written.
    """
    if rows_there(folder, machine):
        return  # they say already what they are from
    document = {"version": VERSION} | asdict(machine)
    make_folder(folder)
    write_text(folder / "machine.json", json.dumps(document, indent=1) + "\n")


def rows_there(folder: Path, machine: Machine) -> tuple[Row, ...]:
    """Return the rows of a folder, which may hold none yet and may not be there.

    Raises
    ------
    CalibrationError
        When they are of another machine; it names the difference. A machine without rows is
        nobody's: a run that was refused may have left it.
    """
    if not is_there(folder / "machine.json"):
        return ()
    found = read(folder)
    if found.rows:
        check_same(folder, found.machine, machine)
    return found.rows


def check_same(folder: Path, there: Machine, here: Machine) -> None:
    """Raise unless two machines are the same.

    Raises
    ------
    CalibrationError
        It names what differs.
    """
    found = there.differences(here)
    if found:
        lines = "\n  ".join(found)
        raise CalibrationError(
            f"{folder}: its rows are from another machine or set-up:\n  {lines}\n"
            "Measure into another folder."
        )


def read_machine(folder: Path) -> Machine:
    """Return the machine of a folder of rows.

    Raises
    ------
    UserError
        When there is none, or it is not what `write_machine` writes.
    CalibrationError
        When it was written in another version of the form.
    """
    path = folder / "machine.json"
    if not is_there(path):
        raise UserError(
            f"{folder}: no machine.json, so no rows; 'tspsim calibrate measure -o {folder}' "
            "writes them"
        )
    document = read_json(path)
    found = document.pop("version", None) if isinstance(document, dict) else None
    if not isinstance(found, int):
        raise UserError(f"{path}: is not what 'tspsim calibrate measure' writes: it has no version")
    if found != VERSION:
        raise CalibrationError(
            f"{path}: rows of version {found}; this tspsim reads version {VERSION}. "
            "Measure again, or use the tspsim that wrote them."
        )
    if told := wrong(MachineForm, document):
        raise UserError(f"{path}: is not what 'tspsim calibrate measure' writes: {told}")
    return Machine(**document)


def read(folder: Path) -> Rows:
    """Return the rows of a folder; a last line that was cut off in the middle is left out.

    Raises
    ------
    UserError
        When there are none or a line is not a row.
    CalibrationError
        When they were written in another version of the form.
    """
    machine = read_machine(folder)
    path = folder / "rows.jsonl"
    if not is_there(path):
        return Rows(machine, ())
    lines = read_text(path, most=STORED).split("\n")
    whole = lines[:-1]  # what follows the last line break was being written when the run ended
    return Rows(machine, tuple(_row(path, i, line) for i, line in enumerate(whole, 1) if line))


def _row(path: Path, number: int, line: str) -> Row:
    place = f"{path}:{number}"
    document = parse_json(line, str(path), number)
    told = wrong(RowForm, document)
    if not told and document["kind"] not in CASES:
        told = f"kind: {found(document['kind'])}; known: {', '.join(CASES)}"
    told = told or wrong(CASES[document["kind"]], document["case"], ("case",))
    if told:
        raise UserError(f"{place}: is no row of a calibration: {told}")
    return Row(**document | {"seconds": tuple(document["seconds"])})


def append(folder: Path, rows: Iterable[Row]) -> None:
    """Append rows to a folder."""
    path = folder / "rows.jsonl"
    _mend(path)
    with path.open("a", encoding="utf-8") as file:
        for row in rows:
            file.write(text(row) + "\n")


def _mend(path: Path) -> None:
    """Cut off a last line that was not written to its end."""
    if is_there(path):
        content = read_bytes(path, most=STORED)
        end = content.rfind(b"\n") + 1
        if end < len(content):
            path.write_bytes(content[:end])


def text(row: Row) -> str:
    """Return a row as its line; times keep a tenth of a microsecond."""
    document = {k: v for k, v in asdict(row).items() if v not in ([], {}, None)}
    return json.dumps(_rounded(document), separators=(",", ":"))


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, 7)
    if isinstance(value, dict):
        return {k: _rounded(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(v) for v in value]
    return value
