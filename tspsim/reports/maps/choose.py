"""What a map shows of a sweep: which rows, over which axes, and what is still to be chosen."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import UserError
from tspsim.reports.maps.figure import Figure, figure
from tspsim.reports.maps.groups import STRATEGY, Look, axis, default_by, looks, name, varying
from tspsim.reports.maps.scale import Scale, scale, written
from tspsim.sweeps.store import Row, Store
from tspsim.sweeps.values import label, number

#: The axis that maps lie along where a study has it.
SEQUENCE = "workload.sequence"
#: Axes that are drawn across when nobody says it: how long sequences are.
LENGTHS = (SEQUENCE, "workload.prompt", "workload.cached")


@dataclass(frozen=True, slots=True)
class Chosen:
    """One map before it is drawn.

    Parameters
    ----------
    store : Store
    rows : tuple of Row
        Those that are shown; points that could not run are among them.
    scales : tuple of Scale
        The axes of the page: x, or x and y; none for a cloud of points.
    figure : Figure
    by : tuple of str
        Columns that tell the groups apart.
    looks : Mapping
        How groups are drawn: the same for all maps of a sweep.
    at : Mapping
        Axes of which one value was chosen.
    left : tuple of str
        Axes that still have several values: one map cannot show them.
    """

    store: Store
    rows: tuple[Row, ...]
    scales: tuple[Scale, ...]
    figure: Figure
    by: tuple[str, ...]
    looks: Mapping[str, Look]
    at: Mapping[str, Any]
    left: tuple[str, ...]

    def group(self, row: Row) -> str:
        """Return the group of a row."""
        return name(row, self.by)

    def alone(self) -> Chosen:
        """Return it when it is one map.

        Raises
        ------
        UserError
            When an axis is left of which no value is chosen.
        """
        if self.left:
            key = self.left[0]
            shown = ", ".join(values_of(self.rows, key)[:6])
            raise UserError(
                f"axis '{key}' has several values ({shown}) and no place on this map: choose one "
                f"(at {key}=...), or another axis for x, y or by"
            )
        return self

    def cells(self) -> dict[tuple[int, int], list[Row]]:
        """Return the rows by the place of their values along x and y."""
        x, y = self.scales
        found: dict[tuple[int, int], list[Row]] = defaultdict(list)
        for row in self.rows:
            if row.axes.get(x.key) is not None and row.axes.get(y.key) is not None:
                found[x.place(row), y.place(row)].append(row)
        return found

    def best(self, rows: Iterable[Row]) -> dict[str, Row]:
        """Return the best row of every group, of those that fit."""
        found: dict[str, list[Row]] = defaultdict(list)
        for row in rows:
            if row.status == "ok":
                found[self.group(row)].append(row)
        return {group: self.figure.best(some) for group, some in found.items()}

    @property
    def title(self) -> str:
        """What is shown: the sweep's name, and the chosen values."""
        return ", ".join([self.store.name, *(_told(k, v) for k, v in self.at.items())])


def _told(key: str, value: Any) -> str:
    """Return a chosen value with what it is a value of, where it does not say so itself."""
    is_name = number(value) is None and not isinstance(value, bool | None)
    return written(value) if is_name else f"{key.rpartition('.')[2]} {written(value)}"


@dataclass(frozen=True, slots=True)
class Asked:
    """What somebody wants to see; None and nothing: what suits the sweep.

    Parameters
    ----------
    x, y, value, by : str, optional
    at : Mapping, optional
        The value of axes that have no place on the map.
    """

    x: str | None = None
    y: str | None = None
    value: str | None = None
    by: str | None = None
    at: Mapping[str, Any] | None = None


def choose(store: Store, asked: Asked, places: int, *, grouped: bool = True) -> Chosen:
    """Return a map's rows and axes.

    Parameters
    ----------
    store : Store
    asked : Asked
    places : int
        How many axes of the sweep the page has: 2, 1, or none.
    grouped : bool
        Whether groups of rows are shown together; otherwise every group wants a map of its own.

    Raises
    ------
    UserError
        When the sweep has no such axis, value or figure, or too few axes.
    """
    every = list(store.rows())
    found = figure(store, asked.value)
    at = {"mesh" if k == "mesh" else axis(store, k): v for k, v in (asked.at or {}).items()}
    rows = _kept(every, at)
    keys = [info.key for info in store.axes]
    fixed = [axis(store, key) if key else None for key in (asked.x, asked.y)][:places]
    by = _by(store, asked.by) if asked.by else default_by(every, keys)
    free = [key for key in keys if key not in at]
    taken = _covered(store, by if grouped else ())
    on_page = _on_page(rows, free, [*fixed, None, None][:places], taken)
    if not by and grouped:  # no strategies compete: the next axis is what lines differ in
        by = tuple(key for key in varying(every, keys) if key not in (*on_page, *at))[:1]
    left = _left(store, rows, (*on_page, *(by if grouped else ())), () if grouped else by)
    scales = tuple(scale(rows, key) for key in on_page)
    drawn = looks(every, by) if grouped else {}
    return Chosen(store, tuple(rows), scales, found, by, drawn, at, left)


def values_of(rows: Iterable[Row], column: str) -> list[str]:
    """Return the values that rows have in a column, as texts, in their order."""
    told = (row.cell(column) for row in rows)
    return list(dict.fromkeys(label(value) for value in told if value is not None))


def _by(store: Store, text: str) -> tuple[str, ...]:
    keys = [key.strip() for key in text.split(",")]
    return tuple(key if key == "mesh" else axis(store, key) for key in keys)


def _kept(rows: Sequence[Row], at: Mapping[str, Any]) -> list[Row]:
    """Return the rows that have the chosen values."""
    for key, wanted in at.items():
        kept = [row for row in rows if _same(row.cell(key), wanted)]
        if not kept:
            told = ", ".join(values_of(rows, key))
            raise UserError(f"{key}={label(wanted)}: no point has it; there are: {told}")
        rows = kept
    return list(rows)


def _same(value: Any, wanted: Any) -> bool:
    one, other = number(value), number(wanted)
    if one and other:
        return one == other
    return value is not None and label(value) == label(wanted)


def _on_page(
    rows: Sequence[Row], keys: Sequence[str], fixed: Sequence[str | None], taken: set[str]
) -> list[str]:
    """Return the axes of the page: those that are fixed, then the sequence, then the others."""
    taken = taken | {key for key in fixed if key}
    free = [key for key in varying(rows, keys) if key not in taken]
    numeric = {key for key in free if scale(rows, key).numeric}
    free.sort(key=lambda key: (key not in LENGTHS, key not in numeric))
    found: list[str] = []
    for place, key in enumerate(fixed):
        if key is None and not free:
            what = "xy"[place]
            other = ", or draw 'lines', which need no y" if place else ""
            told = f"no axis with several values is left for {what}: name one (--{what}){other}"
            raise UserError(told)
        found.append(key or free.pop(0))
    if len(set(found)) < len(found):
        raise UserError(f"x and y are both '{found[0]}'")
    return found


def _covered(store: Store, columns: Iterable[str]) -> set[str]:
    """Return the axes that some columns show: a mesh its strategy, an axis those linked to it."""
    found = set(columns)
    if found & {"mesh", *STRATEGY}:
        found |= set(STRATEGY)
    for together in store.about()["study"]["link"]:
        found |= set(together) if found & set(together) else set()
    return found


def _left(
    store: Store, rows: Sequence[Row], shown: Sequence[str], apart: Sequence[str]
) -> tuple[str, ...]:
    """Return the axes that vary and have no place; `apart`: columns that want maps of their own."""
    apart = () if {*shown} & {*STRATEGY} else apart
    meshes = "mesh" in apart and len(values_of(rows, "mesh")) > 1
    covered = _covered(store, (*shown, *(("mesh",) if "mesh" in apart else ())))
    if {"mesh", *STRATEGY} & {*shown}:  # what competes is the best of each strategy
        covered |= {info.key for info in store.axes if info.key.startswith("strategy.")}
    left = [k for k in varying(rows, (info.key for info in store.axes)) if k not in covered]
    return (*(("mesh",) if meshes else ()), *left)
