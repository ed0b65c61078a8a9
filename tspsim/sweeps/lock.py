"""A lock on the folder of a sweep: two that write into one would mix their rows."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from tspsim.files.errors import OutputError
from tspsim.files.reading import check_regular, is_there


def locked(directory: Path, name: str) -> IO[str] | None:
    """Return a lock on a folder that ends with this process, however that ends.

    Parameters
    ----------
    directory : Path
    name : str
        Of the file in it that is locked.

    Raises
    ------
    OutputError
        When another process holds it.
    """
    try:
        import fcntl
    except ImportError:  # no such locks on Windows: two sweeps in one folder are then not noticed
        return None
    path = directory / name
    if is_there(path):
        check_regular(path)
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise OutputError(f"{directory}: another sweep is writing there") from None
    return lock
