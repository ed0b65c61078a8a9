"""Finds the files that ship with tspsim, in a source tree and after a wheel install."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from tspsim.files.errors import UnknownNameError, UserError
from tspsim.files.reading import check_regular, is_file, is_folder, is_there

Kind = Literal[
    "topologies", "topologies/devices", "topologies/profiles", "topologies/tables", "scenarios",
    "models", "published",
]  # fmt: skip

#: The suffixes of the files of a kind, the usual one first.
_SUFFIXES: dict[Kind, tuple[str, ...]] = {"topologies/tables": (".npz",)}
_YAML = (".yaml", ".yml")


def shipped(kind: Kind) -> Path:
    """Return the folder of shipped files of a kind.

    A wheel holds them inside the package; a source tree and an editable install keep them at the
    top level, where people look for them.
    """
    package = Path(__file__).parent.parent
    installed = package / "data" / kind
    return installed if installed.is_dir() else package.parent / kind


def names(kind: Kind) -> tuple[str, ...]:
    """Return the names of the shipped files of a kind, without suffix, sorted."""
    suffix = _SUFFIXES.get(kind, _YAML)[0]
    return tuple(sorted(path.stem for path in shipped(kind).glob(f"*{suffix}")))


def locate(what: str, name: str, kind: Kind, near: Path | None = None) -> Path:
    """Return the file that a name or path stands for.

    Looked for, in order: beside the file that mentions it (`near`), from the working directory,
    among the shipped files. A shipped file may be named without its suffix.

    Parameters
    ----------
    what : str
        What it is called in messages, for example ``"topology"``.
    name : str
        As the user wrote it.
    kind : Kind
        Which shipped folder to look into.
    near : Path, optional
        Folder of the file that mentions it.

    Raises
    ------
    UnknownNameError
        When nothing is found; it lists what ships.
    UserError
        When it is a folder, or a pipe, a device...
    """
    folder, suffixes = shipped(kind), _SUFFIXES.get(kind, _YAML)
    places = [near / name] if near else []
    if name.endswith(suffixes):
        places += [Path(name), folder / name]
    else:
        places = [folder / f"{name}{suffixes[0]}", *places, Path(name)]
    # the name of a file, not of a folder, is meant where both exist
    if found := next(filter(is_file, places), None):
        return found
    if name and any(map(is_folder, places)):
        needed = "YAML" if suffixes == _YAML else suffixes[0]
        raise UserError(f"{what} '{name}' is a folder; a {needed} file is needed")
    if found := next(filter(is_there, places), None):
        check_regular(found, f"{what} '{name}'")
    raise UnknownNameError(what, name, names(kind))
