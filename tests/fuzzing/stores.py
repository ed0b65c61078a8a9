"""Stores of sweeps that are torn, foreign, or hold cells of other types."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzzing import texts, values
from tests.fuzzing.bases import RUNS, SWEEPS, resumed
from tests.fuzzing.case import Case
from tspsim.sweeps.store import FILE

_CELLS = ("axes", "status", "reason", "hash", "figures")
_STATEMENTS = (
    "DROP TABLE about", "DROP TABLE points", "DELETE FROM about", "DELETE FROM points",
    "ALTER TABLE points DROP COLUMN figures", "ALTER TABLE points RENAME COLUMN axes TO b",
    "INSERT INTO points SELECT id + 100, axes, status, reason, hash, figures FROM points",
    "UPDATE points SET id = -id", "UPDATE points SET status = 'ok'",
    "DELETE FROM points WHERE id = 0",
    "UPDATE points SET figures = '{}'", "DELETE FROM about WHERE key = 'study'",
    "DELETE FROM about WHERE key = 'name'", "CREATE VIEW v AS SELECT 1", "PRAGMA user_version = 9",
    "ALTER TABLE points RENAME TO others", "UPDATE about SET value = value || 'x'",
)  # fmt: skip


def case(rng: Random, folder: Path, bases: Path) -> Case:
    """Return a command that reads, or goes on with, a damaged store."""
    name = rng.choice(sorted(SWEEPS))
    shutil.copytree(bases / name, folder / name)
    shutil.copy(bases / f"{name}.yaml", folder)
    _damage(rng, folder / name / FILE, bases)
    form = rng.choice(("csv", "json", "md", "latex"))
    kind = rng.choice(("lines", "heatmap", "winner", "pareto"))
    return Case(
        rng.choice((
            ("export", name, "--format", form), ("export", name), ("report", name), resumed(name),
            ("plot", name, "--kind", kind), ("compare", name, f"{name}.yaml"), resumed(name),
            ("export", name, "--columns", str(rng.choice(values.TEXTS))), ("report", name),
            ("plot", name, "--kind", kind, "--x", "workload.sequence", "--value", "step_time"),
        ))
    )  # fmt: skip


def _damage(rng: Random, path: Path, bases: Path) -> None:
    kind = rng.randrange(8)
    if kind < 5:
        changes = (_about, _cell, _cell, _inside_cell, _inside_cell, _statement)
        with closing(sqlite3.connect(path)) as connection, connection:
            for _ in range(rng.choice((1, 1, 2))):
                rng.choice(changes)(rng, connection)
    elif kind < 7:
        path.write_bytes(texts.damaged(rng, path.read_bytes()))
    else:
        _foreign(rng, path, bases)


def _value(rng: Random) -> Any:
    """Return a cell that SQLite takes."""
    found = values.odd(rng)
    whole = isinstance(found, int) and abs(found) < 2**63
    if isinstance(found, list | dict) or (isinstance(found, int) and not whole):
        return json.dumps(found)
    if isinstance(found, str):
        found = found.encode("utf-8", "surrogatepass")
        return found if rng.random() < 0.2 else found.decode("utf-8", "replace")
    return "" if found is None else found


def _about(rng: Random, connection: sqlite3.Connection) -> None:
    """Change what the store says that it is of."""
    rows = _ignored(connection, "SELECT key, value FROM about")
    if not rows:
        return
    key, text = rng.choice(rows)
    changed = json.dumps(values.mutated(rng, _tree(text))) if rng.random() < 0.8 else _value(rng)
    _ignored(connection, "UPDATE about SET value = ? WHERE key = ?", changed, key)


def _cell(rng: Random, connection: sqlite3.Connection) -> None:
    """Put any value into a cell of a row, or of all rows."""
    _put(rng, connection, rng.choice(_CELLS), _value(rng))


def _inside_cell(rng: Random, connection: sqlite3.Connection) -> None:
    """Change a value in a cell that holds a tree."""
    column = rng.choice(("axes", "figures"))
    rows = _ignored(connection, f"SELECT {column} FROM points ORDER BY id")  # noqa: S608
    if rows:
        _put(rng, connection, column, json.dumps(values.mutated(rng, _tree(rows[0][0]))))


def _put(rng: Random, connection: sqlite3.Connection, column: str, value: Any) -> None:
    where = rng.choice(("", " WHERE id = (SELECT min(id) FROM points)"))
    _ignored(connection, f"UPDATE points SET {column} = ?{where}", value)  # noqa: S608


def _statement(rng: Random, connection: sqlite3.Connection) -> None:
    _ignored(connection, rng.choice(_STATEMENTS))


def _tree(text: Any) -> Any:
    try:
        return json.loads(text)
    except (TypeError, ValueError):
        return {}


def _ignored(connection: sqlite3.Connection, statement: str, *given: Any) -> list[Any]:
    """Return the rows of a statement; none where SQLite, or an earlier change, rules it out."""
    try:
        return connection.execute(statement, given).fetchall()
    except sqlite3.Error:
        return []


def _foreign(rng: Random, path: Path, bases: Path) -> None:
    """Put something else in the place of the store, or beside it."""

    def other(path: Path) -> None:
        shutil.copy(bases / rng.choice(sorted(SWEEPS)) / FILE, path)

    def table(path: Path) -> None:
        path.unlink()
        with closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE about (a, b)")

    def text(path: Path) -> None:
        shutil.copy(bases / rng.choice(sorted(RUNS)) / "result.json", path)

    def journal(path: Path) -> None:
        path.with_name(f"{path.name}{rng.choice(('-wal', '-journal'))}").write_bytes(
            rng.randbytes(5000)
        )

    def folder(path: Path) -> None:
        path.unlink()
        path.mkdir()

    kinds: tuple[Callable[[Path], None], ...] = (other, table, text, journal, folder, Path.unlink)
    rng.choice(kinds)(path)
