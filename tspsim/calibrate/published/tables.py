"""The kernel tables of a profile beside published rows, which no table has seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean, geometric_mean
from typing import Any

from tspsim.calibrate.imports.devices import device
from tspsim.calibrate.kernels import rows
from tspsim.calibrate.published.rows import Point
from tspsim.files.errors import UserError
from tspsim.files.shipped import locate
from tspsim.topology.hardware import Device
from tspsim.topology.table_files import TableFile, read_tables
from tspsim.topology.tables import Table

#: Flops of attention's backward / forward.
_BACKWARD = 2.5

#: The best that a sweep over shapes found: a bound, and no time of a shape.
_BEST = "mamf"

#: What the errors of tables are stated for.
_SIZES = {
    "matmul": "m of at least 1024", "grouped": "groups of at least 64 rows",
    "attention": "sequences of at least 1024",
    "decode_attention": "caches of at least 1024 tokens",
    "decode_mla": "caches of at least 1024 tokens",
}  # fmt: skip

#: Those of them whose kernels others have published times of, too.
_PUBLISHED = ("matmul", "attention")


@dataclass(frozen=True, slots=True)
class FittedTables:
    """A file of tables, and what of attention's forward its backward reaches.

    Parameters
    ----------
    name : str
    file : TableFile
    backward : float
    device : str
        Whose backward was published.
    points : tuple of Point
        Those rows.
    residual, error : float
        On them, and on each of them by the others.
    """

    name: str
    file: TableFile
    backward: float
    device: str
    points: tuple[Point, ...]
    residual: float
    error: float

    @property
    def source(self) -> str:
        """Where the tables come from."""
        return str(self.file.about["source"])


def fit(name: str, backward: str, points: Sequence[Point]) -> FittedTables:
    """Return the tables of a file with the ratio that published backward kernels give.

    Parameters
    ----------
    name : str
        Of the file.
    backward : str
        The device whose rows, beside its own table, give the ratio.
    points : sequence of Point

    Raises
    ------
    UserError
        When there are no such rows.
    """
    seen = tuple(
        p for p in points if (p.curve, p.device) == ("attention_backward", backward) and p.place
    )
    if not seen:
        raise UserError(f"{backward}: no published row of attention's backward states its shape")
    forward, hardware = _table(_read(backward), "attention"), device(backward)
    found = [_ratio(point, _efficiency(forward, point, hardware)) for point in seen]
    ratio = round(geometric_mean(found), 3)
    others = [geometric_mean(found[:i] + found[i + 1 :]) for i in range(len(found))]
    residual = fmean(abs(r / ratio - 1) for r in found)
    error = fmean(abs(r / other - 1) for r, other in zip(found, others, strict=True))
    return FittedTables(name, _read(name), ratio, backward, seen, residual, error)


def _ratio(point: Point, forward: float) -> float:
    """Return efficiency of backward / forward.

    Of both together it follows from ``3.5 / both = 1 / forward + 2.5 / backward``.
    """
    if not point.together:
        return point.efficiency / forward
    return _BACKWARD / ((1 + _BACKWARD) * forward / point.efficiency - 1)


def _efficiency(table: Table, point: Point, hardware: Device) -> float:
    """Return achieved / stated flop rate of a forward kernel, as published rows count it."""
    if table.kind == "matmul":
        m, n, k = point.place
        asked = rows.matmul(m, n, k, itemsize=2)
    else:
        blocks, sequence, _, head_dim = point.place
        asked = rows.attention(1, blocks, blocks, sequence, head_dim)
    least = asked.flops / hardware.peak(table.dtype)
    return table.at(point.place) * float(least / rows.roofline(asked, hardware, table.dtype))


def _read(name: str) -> TableFile:
    return read_tables(locate("table", name, "topologies/tables"))


def _table(file: TableFile, kind: str) -> Table:
    return next(table for table in file.tables if (table.kind, table.dtype) == (kind, "bf16"))


def stated(found: FittedTables) -> Iterator[tuple[str, dict[str, Any], str]]:
    """Yield name, what the file says, and a note for the tables that a step uses."""
    for table in found.file.tables:
        if table.kind in _SIZES:
            about = found.file.about["tables"][f"{table.kind} {table.dtype}"]
            libraries = len(about["libraries"])
            note = f"{_SIZES[table.kind]}; {libraries} libraries, up to {about['spread']:.0%} apart"
            if libraries == 1:
                note = f"{_SIZES[table.kind]}; 1 library"
            yield f"{table.kind} table, {table.dtype}", about, note


def checks(
    found: FittedTables, name: str, points: Sequence[Point]
) -> Iterator[tuple[str, list[float]]]:
    """Yield name and relative deviations of the times of a device's published rows."""
    hardware = device(name)
    for kind in _PUBLISHED:
        own = [
            p for p in points
            if (p.curve, p.device) == (kind, name) and p.place and not p.together
            and p.source != _BEST
        ]  # fmt: skip
        table = _table(found.file, kind)
        if own:
            deviations = [p.efficiency / _efficiency(table, p, hardware) - 1 for p in own]
            yield f"{kind} table, published rows", deviations
