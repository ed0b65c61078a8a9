"""A sweep's results: one SQLite file in a folder, written row by row as they arrive.

Reading one, for tables, plots and reports::

    store = Store.open("sweep")            # the folder that ``tspsim sweep -o`` wrote
    store.axes                             # tuple of AxisInfo: key, values, unit
    store.count, len(store)                # points of the study, rows that are there already
    for row in store.rows():               # in the order of the study, whatever ran first
        row.axes["workload.sequence"]      # as in the scenario: 8192, "64 GB/s", "tsp"
        row.number("topology.link.bandwidth")   # 64e9: SI units, None when it is no number
        row.status, row.reason             # "ok", "unfit", "invalid" or "failed", and why
        row.figures["step_time"]           # see tspsim.sweeps.columns; None where nothing ran

The file is in WAL mode: a process that is killed at any moment leaves every row that it has
committed. A lock beside it keeps two sweeps from writing into one folder.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from tspsim import __version__
from tspsim.files.arguments import checked
from tspsim.files.errors import OutputError
from tspsim.files.frames import frame
from tspsim.files.reading import check_regular, is_folder, is_there
from tspsim.files.writing import check_folder, said_clearly
from tspsim.sweeps import stored, values
from tspsim.sweeps.columns import order
from tspsim.sweeps.lock import locked

if TYPE_CHECKING:
    import pandas as pd

#: Name of the file in a sweep's folder, and the form of its tables.
FILE, FORMAT = "sweep.sqlite", 1

_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (
    id INTEGER PRIMARY KEY, axes TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    hash TEXT NOT NULL, figures TEXT NOT NULL
);
"""


@dataclass(frozen=True, slots=True)
class AxisInfo:
    """An axis of a stored sweep.

    Parameters
    ----------
    key : str
    values : tuple
        Every value that a row has, in the order of the study.
    unit : str
        In which `Row.number` gives them: ``"B/s"``, ``"s"``...; ``"x"`` for relative values, empty
        for plain numbers and for words.
    numeric : bool
        Whether all values are numbers.
    """

    key: str
    values: tuple[Any, ...]
    unit: str
    numeric: bool


@dataclass(frozen=True, slots=True)
class Row:
    """One point and what came of it.

    Parameters
    ----------
    id : int
        Its place in the study.
    axes : Mapping
        The value of every axis, as in the scenario.
    status : str
        ``ok``, ``unfit``, ``invalid`` or ``failed``.
    reason : str
    hash : str
        SHA-256 of the resolved scenario and the version.
    figures : Mapping
        By name of the column, in SI units; empty when nothing ran.
    """

    id: int
    axes: Mapping[str, Any]
    status: str
    reason: str = ""
    hash: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)

    def number(self, key: str) -> float | None:
        """Return an axis' value in SI units; None when it is no number."""
        found = values.number(self.axes.get(key))
        return None if found is None else float(found[0])

    def cell(self, column: str) -> Any:
        """Return what stands in a column of the table; None for nothing."""
        if column in self.axes:
            return self.axes[column]
        if column in ("status", "reason", "hash"):
            return getattr(self, column) or None
        return self.figures.get(column)


class Store:
    """The results of one sweep; see the module.

    Parameters
    ----------
    connection : sqlite3.Connection
    place : str
        What it is called in messages.
    lock : file, optional
        Held while the store is open for writing.
    in_file : bool
        Others could have changed it: what it holds is held against its form.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        place: str,
        lock: IO[str] | None = None,
        *,
        in_file: bool = True,
    ) -> None:
        self._connection, self.place, self._lock = connection, place, lock
        self._in_file = in_file

    @classmethod
    @checked
    def open(cls, directory: str | Path) -> Store:
        """Open the store of a folder for reading.

        Raises
        ------
        OutputError
            When there is none, or it is of another form.
        """
        path = Path(directory)
        path = path / FILE if is_folder(path) else path
        if not is_there(path):
            raise OutputError(f"{path}: there is none; 'tspsim sweep SCENARIO -o DIR' makes one")
        check_regular(path)
        with _said_clearly(str(path)):
            store = cls(_connect(path), str(directory))
            with store._closed_on_error():
                store._check_format()
        return store

    @classmethod
    def create(
        cls, directory: str | Path | None, study: Mapping[str, Any], count: int, name: str
    ) -> Store:
        """Open a folder's store for writing: a new one, or that of the same study.

        Parameters
        ----------
        directory : str or Path or None
            Made when it is not there. None: a store in memory.
        study : Mapping
            Its keys, as a study file has them.
        count : int
            Points of the study.
        name : str
            Of the scenario.

        Raises
        ------
        OutputError
            When the folder holds something else, or a sweep of another study or version.
        """
        about = {
            "format": FORMAT, "version": __version__, "name": name, "count": count,
            "study": json.loads(json.dumps(study)),
        }  # fmt: skip
        if directory is None:
            store = cls(_connect(":memory:"), "memory", in_file=False)
        else:
            store = cls._on_disk(Path(directory))
        with store._closed_on_error(), store._writing():
            store._check_tables()
            store._connection.execute("PRAGMA journal_mode = WAL")
            store._connection.execute("PRAGMA synchronous = NORMAL")
            store._connection.executescript(_TABLES)
            store._begin(about)
            for _ in store.rows():
                pass  # a damaged row is told before hours are spent on the others
        return store

    @classmethod
    def _on_disk(cls, directory: Path) -> Store:
        with _said_clearly(str(directory)):
            if directory.exists() and not directory.is_dir():
                raise OutputError(f"{directory}: is a file; a sweep needs a folder")
            held = sorted(entry.name for entry in directory.iterdir()) if directory.exists() else []
            if held and FILE not in held:
                raise OutputError(
                    f"{directory}: holds something else ({', '.join(held[:3])}); choose an empty "
                    "or a new folder"
                )
            check_folder(directory)
            if held:
                check_regular(directory / FILE)
            directory.mkdir(parents=True, exist_ok=True)
            lock = locked(directory, f".{FILE}.lock")
            return cls(_connect(directory / FILE), str(directory), lock)

    def _begin(self, about: Mapping[str, Any]) -> None:
        """Write what the store is of, or compare it with what is written there."""
        there = self.about()
        if not there and not len(self):
            rows = [(key, json.dumps(value)) for key, value in about.items()]
            self._connection.executemany("INSERT INTO about VALUES (?, ?)", rows)
            return
        self._check_format()
        same = all(there[key] == about[key] for key in ("version", "study"))
        if not same and set(self.statuses()) == {"invalid"}:  # nothing ran: nothing is lost
            self._connection.executescript("DELETE FROM about; DELETE FROM points")
            self._begin(about)
        elif there["version"] != about["version"]:
            raise OutputError(
                f"{self.place}: holds a sweep of tspsim {there['version']}, this is "
                f"{about['version']}; results of two versions do not mix: choose another folder"
            )
        elif not same:
            told = "; ".join(stored.differences(there["study"], about["study"]))
            raise OutputError(
                f"{self.place}: holds a sweep of another study: {told}; choose another folder"
            )

    def _check_tables(self) -> None:
        """Refuse a file of somebody else's before anything is written into it."""
        told = self._connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        others = sorted({str(name) for (name,) in told} - {"about", "points"})
        if others:
            raise OutputError(f"{self.place}: {FILE} is no sweep: it has a table '{others[0]}'")

    def _check_format(self) -> None:
        about = self.about()
        if (found := about.get("format")) != FORMAT:
            raise OutputError(
                f"{self.place}: is no sweep that this version of tspsim reads (form {found}, "
                f"not {FORMAT})"
            )
        stored.check_about(about, self.place)

    def about(self) -> dict[str, Any]:
        """Return what the sweep is of: ``version``, ``name``, ``count``, ``study``."""
        return stored.about(list(self._read("SELECT key, value FROM about")), self.place)

    def _read(self, query: str) -> Iterator[tuple[Any, ...]]:
        """Yield what a query finds; what SQLite cannot read of a torn file is told."""
        with _said_clearly(self.place):
            yield from self._connection.execute(query)

    @property
    def name(self) -> str:
        """Name of the scenario."""
        return str(self.about()["name"])

    @property
    def count(self) -> int:
        """Number of points of the study, those included that have not run yet."""
        return int(self.about()["count"])

    def __len__(self) -> int:
        """Return the number of rows."""
        ((count,),) = self._read("SELECT count(*) FROM points")
        return int(count)

    def done(self) -> frozenset[int]:
        """Return the ids of the points that have a row."""
        return frozenset(row[0] for row in self._read("SELECT id FROM points"))

    def statuses(self) -> dict[str, int]:
        """Return how many rows there are of every status."""
        told = self._read("SELECT status, count(*) FROM points GROUP BY status ORDER BY status")
        return {str(status): count for status, count in told}

    def add(self, rows: Sequence[Row]) -> None:
        """Write rows, all of them or none.

        Raises
        ------
        OutputError
            When the disk is full, or the file cannot be written.
        """
        told = [
            (r.id, _json(r.axes), r.status, r.reason, r.hash, _json(r.figures)) for r in rows
        ]  # fmt: skip
        with self._writing():
            self._connection.executemany(
                "INSERT OR REPLACE INTO points VALUES (?, ?, ?, ?, ?, ?)", told
            )

    def rows(self) -> Iterator[Row]:
        """Yield the rows in the order of the study.

        Raises
        ------
        OutputError
            When a row is damaged.
        """
        axes = tuple(self.about()["study"]["axes"])
        query = "SELECT id, axes, status, reason, hash, figures FROM points ORDER BY id"
        for cells in self._read(query):
            row = stored.row(cells, self.place)
            if self._in_file:
                stored.check_row(row, axes, self.place)
            yield Row(*row)

    @property
    def axes(self) -> tuple[AxisInfo, ...]:
        """The axes, in the order of the study, with the values that rows have."""
        found: dict[str, dict[str, Any]] = {key: {} for key in self.about()["study"]["axes"]}
        for row in self.rows():
            for key, value in row.axes.items():
                if value is not None:
                    found[key].setdefault(json.dumps(value), value)
        return tuple(_info(key, tuple(seen.values())) for key, seen in found.items())

    def frame(self) -> pd.DataFrame:
        """Return the rows as a table of pandas: see `tspsim.Sweep.frame`."""
        columns = self.columns()
        return frame(([row.cell(name) for name in columns] for row in self.rows()), columns)

    def columns(self) -> list[str]:
        """Return the columns of the table."""
        present = {name for row in self.rows() for name in row.figures}
        return order(self.about()["study"]["axes"], present)

    def close(self) -> None:
        """Close the file and give its lock back."""
        self._connection.close()
        if self._lock is not None:
            self._lock.close()

    def __del__(self) -> None:
        with suppress(sqlite3.Error):
            self.close()

    @contextmanager
    def _closed_on_error(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Commit what is written inside, or none of it."""
        with _said_clearly(self.place), self._connection:
            yield


def _connect(path: str | Path) -> sqlite3.Connection:
    # One thread at a time uses it; the one that throws it away may be another.
    return sqlite3.connect(path, timeout=30, check_same_thread=False)


def _info(key: str, found: tuple[Any, ...]) -> AxisInfo:
    numbers = [values.number(value) for value in found]
    units = {pair[1] for pair in numbers if pair}
    return AxisInfo(
        key, found, units.pop() if len(units) == 1 else "", bool(found) and None not in numbers
    )


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), separators=(",", ":"))


@contextmanager
def _said_clearly(place: str) -> Iterator[None]:
    """Turn what SQLite and the operating system refuse into a message for the user."""
    try:
        with said_clearly(place):
            yield
    except sqlite3.Error as error:
        if "full" in str(error):
            raise OutputError(
                f"{place}: the disk is full; what is stored stays: make room and run the same "
                "command again"
            ) from None
        raise OutputError(f"{place}: cannot be used as a sweep's store: {error}") from None
