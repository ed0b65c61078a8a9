"""Reads what users name: regular files alone, and no more of them than makes sense.

A device or a pipe can give bytes for ever, or none at all, and the size that the system tells of a
file need not be what comes out of it. Whatever a user names is read through this module.
"""

from __future__ import annotations

import json
import re
import stat
from pathlib import Path
from typing import Any, NoReturn

from tspsim.files.characters import problem
from tspsim.files.errors import UserError

#: What people write takes kilobytes; what tspsim writes (results, measured rows) may be long.
WRITTEN, STORED = 2**20, 2**28

_KINDS = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)

#: What JSON can hold nothing bad without: escapes, characters beyond ASCII's, large exponents.
_SUSPECT = re.compile(r"\\[bfnrtu]|[^\t\n\r\x20-\x7e]|[eE]\+?\d{3}")


class UnreadableError(UserError):
    """A file that cannot be read: ``name: reason``, with the line where there is one."""


def is_there(path: Path) -> bool:
    """Whether there is something of this name, whatever it is.

    What cannot be a name (too long, with a zero byte), or stands in a closed folder, is not there.
    """
    return _mode(path) is not None


def is_file(path: Path) -> bool:
    """Whether there is a regular file of this name."""
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def is_folder(path: Path) -> bool:
    """Whether there is a folder of this name."""
    mode = _mode(path)
    return mode is not None and stat.S_ISDIR(mode)


def _mode(path: Path) -> int | None:
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return None


def check_regular(path: Path, name: str | None = None) -> None:
    """Raise unless a path leads to a regular file.

    Raises
    ------
    UnreadableError
        It says what is there in its place.
    """
    name = name or str(path)
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UnreadableError(f"{name}: no such file") from None
    except (OSError, ValueError) as error:
        _refuse(name, error)
    for is_kind, kind in _KINDS:
        if is_kind(mode):
            raise UnreadableError(f"{name}: is {kind}, not a file")


def read_bytes(path: Path, name: str | None = None, most: int = WRITTEN) -> bytes:
    """Return the bytes of a regular file.

    Parameters
    ----------
    path : Path
    name : str, optional
        What it is called in messages.
    most : int
        Bytes that are read at most: what is longer is some other file.

    Raises
    ------
    UnreadableError
        When it is no regular file, is longer, or cannot be read.
    """
    name = name or str(path)
    check_regular(path, name)
    try:
        with path.open("rb") as file:
            found = file.read(most + 1)
    except OSError as error:
        _refuse(name, error)
    if len(found) > most:
        allowed = f"at most {most >> 20} MiB is read, and it is longer"
        raise UnreadableError(f"{name}: {allowed}: is this the right file?")
    return found


def read_text(path: Path, name: str | None = None, most: int = WRITTEN) -> str:
    """Return the text of a regular UTF-8 file; see `read_bytes`.

    Raises
    ------
    UnreadableError
        Also when it is no UTF-8 text, with the line of the first wrong byte.
    """
    name = name or str(path)
    try:
        return read_bytes(path, name, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        message = f"byte 0x{error.object[error.start]:02x} is not UTF-8 text"
        raise UnreadableError(f"{name}:{line}: {message}") from None


def read_json(path: Path, name: str | None = None, most: int = STORED) -> Any:
    """Return what a JSON file holds; see `read_text`.

    Raises
    ------
    UnreadableError
        Also when it is no JSON, or holds what `parse_json` refuses.
    """
    name = name or str(path)
    return parse_json(read_text(path, name, most), name)


def parse_json(text: str, name: str, line: int = 0) -> Any:
    """Return what a JSON text holds: finite numbers, and texts without control characters.

    Parameters
    ----------
    text, name : str
    line : int
        The line of the file that the text is; 0 where it is the whole file.

    Raises
    ------
    UnreadableError
        With the place of what is wrong.
    """
    place = f"{name}:{line}" if line else name

    def refuse_constant(word: str) -> NoReturn:
        raise UnreadableError(f"{place}: {word} is not a finite number")

    try:
        found = json.loads(text, parse_constant=refuse_constant)
        wrong = problem(found) if _SUSPECT.search(text) else None
    except json.JSONDecodeError as error:
        place = f"{name}:{line or error.lineno}:{error.colno}"
        raise UnreadableError(f"{place}: not valid JSON: {error.msg}") from None
    except RecursionError:
        raise UnreadableError(f"{place}: nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"{place}: not valid JSON: {error}") from None
    if wrong:
        raise UnreadableError(f"{place}: {'.'.join(map(str, wrong.path))}: {wrong.message}")
    return found


def _refuse(name: str, error: OSError | ValueError) -> NoReturn:
    reason = getattr(error, "strerror", None) or error
    raise UnreadableError(f"{name}: cannot be read: {reason}") from None
