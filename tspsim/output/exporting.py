"""Writes a result in a form of another tool, whole or not at all.

What is written lies beside its place first and is moved there at the end. A file that is there, and
a folder that holds something, are left alone unless ``force`` is given; then files that the form
itself calls so are replaced, and all others stay.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from tspsim.files.errors import OutputError
from tspsim.files.extras import need
from tspsim.files.writing import (
    beside,
    check_file,
    check_parent,
    said_clearly,
    taken_away,
    whole,
)  # fmt: skip
from tspsim.registry import EXPORTS

if TYPE_CHECKING:
    from tspsim.result import Result


def check(form: str, target: Path, force: bool = False) -> None:
    """Refuse what `write` would refuse, before time is spent on a simulation.

    Parameters
    ----------
    form : str
        A registered form: ``"trace"``.
    target : Path
        The file, or the folder, that the form is written to.
    force : bool
        Replace what is there.

    Raises
    ------
    UnknownNameError
        When there is no such form.
    OutputError
        When the target has another suffix, is there already, or cannot be written.
    UserError
        When what the form needs is not installed.
    """
    module = _module(form)
    if hasattr(module, "NEEDS"):
        imported, extra = module.NEEDS
        need(imported, extra, f"form '{form}'")
    with said_clearly(target):
        if _is_folder(module):
            _refuse_folder(target, module.FILES, force)
        else:
            _refuse_file(form, target, module.SUFFIXES, force)


def write(form: str, result: Result, target: Path, force: bool = False) -> list[Path]:
    """Write a result in a form, and return the files.

    Parameters
    ----------
    form, target, force
        As in `check`, which is called first.
    result : Result

    Raises
    ------
    UnknownNameError, OutputError
        As in `check`.
    """
    check(form, target, force)
    module = _module(form)
    if not _is_folder(module):
        with whole(target) as partial:
            module.export(result, partial)
        return [target]
    with said_clearly(target), taken_away(beside(target)) as scratch:
        scratch.mkdir()
        names = sorted(path.name for path in module.export(result, scratch))
        _move(scratch, target, module.FILES)
        return [target / name for name in names]


def _move(scratch: Path, target: Path, files: str) -> None:
    """Put a folder in its place, or its files into the folder that is there."""
    if not target.exists():
        scratch.rename(target)
        return
    for stale in target.glob(files):
        stale.unlink()
    for path in scratch.iterdir():
        path.replace(target / path.name)


def is_folder(form: str) -> bool:
    """Whether a form is a folder of files, not one file."""
    return _is_folder(_module(form))


def _is_folder(module: ModuleType) -> bool:
    return hasattr(module, "FILES")


def _module(form: str) -> ModuleType:
    return sys.modules[EXPORTS.get(form).__module__]


def _refuse_file(form: str, target: Path, suffixes: tuple[str, ...], force: bool) -> None:
    if not target.name.endswith(suffixes):
        allowed = " or ".join(suffixes)
        raise OutputError(f"{target}: a file of form '{form}' ends in {allowed}")
    check_file(target)
    if target.exists() and not force:
        raise OutputError(f"{target}: is there already; choose another name, or use --force")


def _refuse_folder(target: Path, files: str, force: bool) -> None:
    if target.exists() and not target.is_dir():
        raise OutputError(f"{target}: is a file; the files of all ranks need a folder")
    if target.exists() and not force and any(target.iterdir()):
        raise OutputError(
            f"{target}: holds something; choose an empty or a new folder, or use --force, which "
            f"replaces its {files}"
        )
    check_parent(target)
