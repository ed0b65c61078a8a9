"""Looks up files that a scenario names: beside it, in the working directory, then shipped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tspsim.files.errors import did_you_mean
from tspsim.files.reading import is_file, is_there
from tspsim.files.shipped import Kind, shipped

#: What says the shape of a model in a folder of Hugging Face.
CONFIG = "config.json"
#: How many of several near names are told.
_NAMED = 3


def names(folder: Kind) -> list[str]:
    """Return the names of what is shipped in a folder, sorted: files by stem, models by folder."""
    root = shipped(folder)
    found = {path.parent.name for path in root.glob(f"*/{CONFIG}")}
    found |= {path.stem for path in root.glob("*.yaml")}
    return sorted(found)


def find(name: str, folder: Kind, beside: Path | None = None) -> Path | None:
    """Return the first place where a named file is, or None.

    Parameters
    ----------
    name : str
        A path, or the name of something shipped, with or without its folder and suffix. Of a model
        also the folder that holds its ``config.json``.
    folder : Kind
        Which shipped folder.
    beside : Path, optional
        Folder of the file that names it: looked at first.
    """
    there = [path for path in _candidates(name, folder, beside) if is_there(path)]
    # Where a folder has the same name, the file is meant.
    return next(filter(is_file, there), next(iter(there), None))


def _candidates(name: str, folder: Kind, beside: Path | None) -> Iterator[Path]:
    for own in [Path(name)] if beside is None else [beside / name, Path(name)]:
        yield own
        if folder == "models":  # what is downloaded is a folder, and its shape is one file of it
            yield own / CONFIG
    rest = Path(name)
    if rest.is_absolute():
        return
    if rest.is_relative_to(folder):
        rest = rest.relative_to(folder)
    root = shipped(folder)
    if rest.name and ".." not in rest.parts:
        yield from (root / rest, root / f"{rest}.yaml")
        if folder == "models":
            yield root / rest / CONFIG


#: What a name may stand for where something else is meant, and what makes use of it.
_OTHERS: Mapping[Kind, tuple[str, str]] = {
    "scenarios": ("a scenario", "tspsim run {}"),
    "topologies": ("a topology", "tspsim new --topology {}"),
    "models": ("a model", "tspsim new --model {}"),
    "topologies/devices": ("a device, which nodes hold", "tspsim list topologies"),
}


def not_found(name: str, folder: Kind) -> str:
    """Return the message for a file that is nowhere, with the nearest shipped name."""
    known = names(folder)
    stem = Path(name).parent.name if Path(name).name == CONFIG else Path(name).stem
    near = _other_kind(name, folder) or did_you_mean(stem, known) or _family(stem, known)
    return f"found no file '{name}'{near}; shipped: {', '.join(known)}"


def _other_kind(name: str, folder: Kind) -> str:
    """Say where the name is that of something else that ships."""
    for kind, (what, command) in _OTHERS.items():
        if kind != folder and name in names(kind):
            return f", which is {what} ('{command.format(name)}')"
    return ""


def _family(stem: str, known: Sequence[str]) -> str:
    """Name those that begin with the same word: ``a100-node`` where ``A100-80G`` was written."""
    first = stem.lower().replace("_", "-").partition("-")[0]
    alike = [each for each in known if first and each.partition("-")[0] == first]
    return f" (did you mean {' or '.join(map(repr, alike[:_NAMED]))}?)" if alike else ""
