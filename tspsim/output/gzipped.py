"""Gzip files whose bytes depend on nothing but their text."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from pathlib import Path

#: Half the size of level 1 costs three times its time: these files are read by programs.
LEVEL = 1


def write(path: Path, blocks: Iterable[str]) -> None:
    """Write blocks of text, one after another, as one gzip file.

    The header carries neither a time nor a file name, so equal text gives equal bytes.

    Parameters
    ----------
    path : Path
    blocks : iterable of str
        Large blocks rather than lines: each is compressed in one call.
    """
    with (
        path.open("wb") as raw,
        gzip.GzipFile(filename="", mode="wb", fileobj=raw, mtime=0, compresslevel=LEVEL) as file,
    ):
        for block in blocks:
            file.write(block.encode())


def write_named(path: Path, blocks: Iterable[str]) -> list[Path]:
    """Write blocks of text into a file, packed where its name ends in ``.gz``; return the file."""
    if path.suffix == ".gz":
        write(path, blocks)
    else:
        with path.open("w", encoding="utf-8", newline="") as file:
            file.writelines(blocks)
    return [path]
