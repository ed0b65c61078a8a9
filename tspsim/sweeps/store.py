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
from typing import IO, Any

from tspsim import __version__
from tspsim.files.errors import OutputError
from tspsim.sweeps import values
from tspsim.sweeps.columns import order

#: Name of the file in a sweep's folder, and the form of its tables.
FILE, FORMAT = "sweep.sqlite", 1

_TABLES = """
CREATE TABLE IF NOT EXISTS about (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS points (
    id INTEGER PRIMARY KEY, axes TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    hash TEXT NOT NULL, figures TEXT NOT NULL
);
"""
#: Differences named when a store is of another study.
_NAMED = 4


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
    """

    def __init__(
        self, connection: sqlite3.Connection, place: str, lock: IO[str] | None = None
    ) -> None:
        self._connection, self.place, self._lock = connection, place, lock

    @classmethod
    def open(cls, directory: str | Path) -> Store:
        """Open the store of a folder for reading.

        Raises
        ------
        OutputError
            When there is none, or it is of another form.
        """
        path = Path(directory)
        path = path / FILE if path.is_dir() else path
        if not path.is_file():
            raise OutputError(f"{path}: there is none; 'tspsim sweep SCENARIO -o DIR' makes one")
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
            `tspsim.sweeps.study.Study.document`.
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
            store = cls(_connect(":memory:"), "memory")
        else:
            store = cls._on_disk(Path(directory))
        with store._closed_on_error(), store._writing():
            store._connection.execute("PRAGMA journal_mode = WAL")
            store._connection.execute("PRAGMA synchronous = NORMAL")
            store._connection.executescript(_TABLES)
            store._begin(about)
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
            directory.mkdir(parents=True, exist_ok=True)
            lock = _locked(directory)
            return cls(_connect(directory / FILE), str(directory), lock)

    def _begin(self, about: Mapping[str, Any]) -> None:
        """Write what the store is of, or compare it with what is written there."""
        there = self.about()
        if not there:
            rows = [(key, json.dumps(value)) for key, value in about.items()]
            self._connection.executemany("INSERT INTO about VALUES (?, ?)", rows)
            return
        self._check_format()
        if there["version"] != about["version"]:
            raise OutputError(
                f"{self.place}: holds a sweep of tspsim {there['version']}, this is "
                f"{about['version']}; results of two versions do not mix: choose another folder"
            )
        if there["study"] != about["study"]:
            told = "; ".join(differences(there["study"], about["study"]))
            raise OutputError(
                f"{self.place}: holds a sweep of another study: {told}; choose another folder"
            )

    def _check_format(self) -> None:
        found = self.about().get("format")
        if found != FORMAT:
            raise OutputError(
                f"{self.place}: is no sweep that this version of tspsim reads (form {found}, "
                f"not {FORMAT})"
            )

    def about(self) -> dict[str, Any]:
        """Return what the sweep is of: ``version``, ``name``, ``count``, ``study``."""
        rows = self._connection.execute("SELECT key, value FROM about")
        return {key: json.loads(value) for key, value in rows}

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
        (count,) = self._connection.execute("SELECT count(*) FROM points").fetchone()
        return int(count)

    def done(self) -> frozenset[int]:
        """Return the ids of the points that have a row."""
        return frozenset(row[0] for row in self._connection.execute("SELECT id FROM points"))

    def statuses(self) -> dict[str, int]:
        """Return how many rows there are of every status."""
        told = "SELECT status, count(*) FROM points GROUP BY status"
        return dict(sorted(self._connection.execute(told).fetchall()))

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
        """Yield the rows in the order of the study."""
        told = "SELECT id, axes, status, reason, hash, figures FROM points ORDER BY id"
        for point, axes, status, reason, digest, figures in self._connection.execute(told):
            yield Row(point, json.loads(axes), status, reason, digest, json.loads(figures))

    @property
    def axes(self) -> tuple[AxisInfo, ...]:
        """The axes, in the order of the study, with the values that rows have."""
        found: dict[str, dict[str, Any]] = {key: {} for key in self.about()["study"]["axes"]}
        for (text,) in self._connection.execute("SELECT axes FROM points ORDER BY id"):
            for key, value in json.loads(text).items():
                if value is not None:
                    found[key].setdefault(json.dumps(value), value)
        return tuple(_info(key, tuple(seen.values())) for key, seen in found.items())

    def columns(self) -> list[str]:
        """Return the columns of the table."""
        present: set[str] = set()
        for (text,) in self._connection.execute("SELECT DISTINCT figures FROM points"):
            present.update(json.loads(text))
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


def _locked(directory: Path) -> IO[str] | None:
    """Return a lock on a folder that ends with this process, however that ends."""
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: two sweeps in one folder are then not noticed
        return None
    lock = (directory / f".{FILE}.lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OutputError(f"{directory}: another sweep is writing there") from None
    return lock


@contextmanager
def _said_clearly(place: str) -> Iterator[None]:
    """Turn what SQLite and the operating system refuse into a message for the user."""
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error):
            raise OutputError(
                f"{place}: the disk is full; what is stored stays: make room and run the same "
                "command again"
            ) from None
        raise OutputError(f"{place}: cannot be used as a sweep's store: {error}") from None
    except PermissionError:
        raise OutputError(f"{place}: may not be written by this user") from None
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror or error}") from None
