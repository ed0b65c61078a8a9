"""Files that tspsim writes: seen to have a place before any work, and written whole or not at all.

What is written lies beside its place first, and is moved there at the end.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tspsim.files.errors import OutputError


def check_file(path: Path) -> None:
    """Refuse a file that could not be written, before time is spent on what it would hold.

    Raises
    ------
    OutputError
        When it is a folder, or there is none for it, or this user may not write there.
    """
    with said_clearly(path):
        place = _followed(path)
        if path.is_dir():
            raise OutputError(f"{path}: is a folder; a file is expected")
    if not _has_no_beside(place):
        check_parent(path, place)


def check_parent(path: Path, place: Path | None = None) -> None:
    """Refuse a file or folder where none could be made.

    Parameters
    ----------
    path : Path
        What it is called.
    place : Path, optional
        Where it lies, if that is elsewhere.

    Raises
    ------
    OutputError
        When there is no folder for it, or this user may not write there.
    """
    folder = (place or path).parent
    with said_clearly(path):
        if not folder.is_dir():
            raise OutputError(f"{path}: cannot be written: there is no folder {folder}")
        _check_access(folder)


def check_folder(path: Path) -> None:
    """Refuse a folder that could neither be written to nor made, with those above it.

    Raises
    ------
    OutputError
        When it, or one above it, is a file, or this user may not write there.
    """
    with said_clearly(path):
        there = next((each for each in (path, *path.parents) if each.exists()), Path())
        if not there.is_dir():
            raise OutputError(f"{path}: cannot be written: {there} is a file, no folder")
        _check_access(there)


def check_below(path: Path) -> None:
    """Refuse as `check_file` does a file whose folders are made with it.

    Raises
    ------
    OutputError
        When it is a folder, or one above it cannot be made or written to.
    """
    check_folder(path.parent)
    if path.parent.is_dir():
        check_file(path)


def make_folder(path: Path) -> None:
    """Make a folder and those above it, as far as they are not there.

    Raises
    ------
    OutputError
        When it cannot be made.
    """
    check_folder(path)
    with said_clearly(path):
        path.mkdir(parents=True, exist_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text into a file, whole or not at all.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    with whole(path) as partial:
        partial.write_text(text, encoding="utf-8")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Give a file beside another, of the same ending, that takes its place if all goes well.

    Raises
    ------
    OutputError
        When it cannot be written.
    """
    check_file(path)
    with said_clearly(path):
        place = _followed(path)
        if _has_no_beside(place):
            yield place
            return
        with taken_away(beside(place)) as partial:
            yield partial
            partial.replace(place)


def beside(place: Path) -> Path:
    """Return where this process may write what belongs to a place and is not complete yet."""
    return place.parent / f".partial-{os.getpid()}-{place.name}"


@contextmanager
def taken_away(scratch: Path) -> Iterator[Path]:
    """Take away whatever is left of a file or folder at the end."""
    try:
        yield scratch
    finally:
        with suppress(OSError):
            scratch.unlink()
        shutil.rmtree(scratch, ignore_errors=True)


@contextmanager
def said_clearly(place: object) -> Iterator[None]:
    """Turn what the operating system refuses into a message for the user."""
    try:
        yield
    except PermissionError:
        raise OutputError(f"{place}: may not be written by this user") from None
    except OSError as error:
        raise OutputError(f"{place}: cannot be written: {error.strerror or error}") from None
    except ValueError as error:
        if "null" not in str(error):  # of a name that no file can have
            raise
        raise OutputError(f"{str(place)!r}: cannot be written: {error}") from None


def _followed(path: Path) -> Path:
    """Return where a link leads: the file there is written, and the link stays."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _has_no_beside(place: Path) -> bool:
    """Whether something is written into as it is: a device or a pipe must not be replaced."""
    return place.exists() and not place.is_file()


def _check_access(folder: Path) -> None:
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermissionError
