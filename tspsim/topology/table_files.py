"""Files of kernel tables: NumPy archives (``.npz``) of grids and codes, with what is said of them.

An archive holds ``about`` (a JSON text) and, for every table, its codes and one array an axis.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tspsim.files.errors import TopologyError
from tspsim.files.reading import is_there, parse_json, read_bytes
from tspsim.files.writing import make_folder, whole
from tspsim.topology.tables import AXES, Table

#: More than any table that can be looked up quickly; an archive may unpack to far more.
_MOST = 2**24

#: A kind that earlier files have and nothing reads: whole expert MLPs, since then ``grouped``.
_RETIRED = "experts"


class TableFile(NamedTuple):
    """What a file of tables holds.

    Attributes
    ----------
    about : dict
        ``source``, and by table (``"matmul bf16"``) its rows, errors and spread.
    tables : tuple of Table
    """

    about: dict[str, Any]
    tables: tuple[Table, ...]


def digest(path: Path) -> str:
    """Return the first digits of the SHA-256 of a file."""
    seen = path.stat() if is_there(path) else None
    return _digest(path, seen and (seen.st_dev, seen.st_ino, seen.st_mtime_ns, seen.st_size))


@lru_cache(maxsize=64)
def _digest(path: Path, seen: tuple[int, ...] | None) -> str:  # noqa: ARG001
    """Return the digest of a file as it was seen: points of a sweep ask for the same ones."""
    return hashlib.sha256(read_bytes(path, most=_MOST)).hexdigest()[:12]


def label(table: Table) -> str:
    """Return what a table is called in its file: ``"matmul bf16"``."""
    return f"{table.kind} {table.dtype}"


def write_tables(path: Path, tables: Sequence[Table], about: Mapping[str, Any]) -> None:
    """Write a file of tables, whole or not at all, and make the folders above it.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    arrays: dict[str, Any] = {"about": np.array(json.dumps(about, ensure_ascii=True))}
    for table in tables:
        shape = [len(axis) for axis in table.axes]
        arrays[label(table)] = np.frombuffer(table.codes, dtype="<i2").reshape(shape)
        for name, axis in zip(AXES[table.kind], table.axes, strict=True):
            arrays[f"{label(table)} {name}"] = np.array(axis, dtype="<f8")
    make_folder(path.parent)
    with whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, **arrays)


def read_tables(path: Path) -> TableFile:
    """Return what a file of tables holds.

    Raises
    ------
    TopologyError
        When it is no such file, or a table in it makes no sense.
    UnreadableError
        When it cannot be read.
    """
    content = read_bytes(path, most=_MOST)
    try:
        return _parsed(content)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        made = "made by 'tspsim calibrate import'"
        raise TopologyError(f"{path}: no file of kernel tables, {made}: {error}") from None


@lru_cache(maxsize=8)
def _parsed(content: bytes) -> TableFile:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(entry.file_size for entry in archive.infolist()) > _MOST:
            raise ValueError(f"it unpacks to more than {_MOST >> 20} MiB")
    with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
        about = parse_json(str(arrays["about"]), "about")
        if not isinstance(about, dict):
            raise ValueError("'about' is no mapping")
        tables = tuple(_table(name, arrays) for name in arrays.files if _names_codes(name))
    if not tables:
        raise ValueError("there is no table in it")
    return TableFile(about, tables)


def _names_codes(name: str) -> bool:
    kind, *rest = name.split()
    return len(rest) == 1 and kind != _RETIRED


def _table(name: str, arrays: Mapping[str, Any]) -> Table:
    kind, dtype = name.split()
    known = {str(k): k for k in AXES}
    if kind not in known:
        raise ValueError(f"'{kind}' is no kind of kernel; known: {', '.join(AXES)}")
    codes = np.asarray(arrays[name])
    axes = [np.asarray(arrays[f"{name} {axis}"]) for axis in AXES[known[kind]]]
    if codes.dtype != np.dtype("<i2") or codes.shape != tuple(len(axis) for axis in axes):
        raise ValueError(f"'{name}' does not fit its axes")
    for axis in axes:
        if axis.dtype != np.dtype("<f8") or axis.ndim != 1 or not _increases(axis.tolist()):
            raise ValueError(f"'{name}': sizes along an axis are positive and increase")
    sizes = tuple(tuple(axis.tolist()) for axis in axes)
    return Table(known[kind], dtype, sizes, codes.tobytes())


def _increases(axis: list[float]) -> bool:
    whole = bool(axis) and math.isfinite(axis[-1]) and axis[0] > 0
    return whole and all(a < b for a, b in pairwise(axis))
