"""``extends:`` in the file of a topology, a device or a profile: another one, with changes.

Scenarios read files through `tspsim.scenario.named`, which knows the place of every value; this is
for topologies that are read without a scenario.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tspsim.files.characters import printable
from tspsim.files.errors import TopologyError
from tspsim.files.reading import is_file
from tspsim.files.shipped import Kind, locate
from tspsim.topology.factors import WrongFactorError, merged, without_sources
from tspsim.topology.files import read

#: What a file of a kind is called in messages.
WHAT: dict[Kind, str] = {
    "topologies": "topology", "topologies/devices": "device", "topologies/profiles": "profile",
}  # fmt: skip

#: Keys whose text may be the name of a file.
_NAMES = frozenset({"file", "extends", "device", "profile"})


def read_whole(path: Path, kind: Kind, trail: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Return what a file holds, with what it extends.

    Parameters
    ----------
    path : Path
    kind : Kind
    trail : tuple of Path
        The files that led here.

    Raises
    ------
    UserError
        When a file cannot be read, there is none, or files extend each other in a circle.
    """
    if path in trail:
        circle = " -> ".join(map(str, (*trail[trail.index(path) :], path)))
        raise TopologyError(f"{path}: files name each other in a circle: {circle}")
    data = _anchored(read(path), path.parent)
    if "extends" in data:
        data = {"name": printable(path.stem, lines=False), **data}  # it is not what it extends
    return resolved(data, kind, path.parent, (*trail, path))


def resolved(
    data: Mapping[str, Any], kind: Kind, folder: Path | None, trail: tuple[Path, ...] = ()
) -> dict[str, Any]:
    """Return a mapping with what its ``extends:`` names, changed by its other keys.

    Raises
    ------
    UserError
        As `read_whole`, and when there is nothing that a factor could multiply.
    """
    if "extends" not in data:
        return dict(data)
    path = locate(WHAT[kind], str(data["extends"]), kind, folder)
    base = read_whole(path, kind, trail)
    changes = {key: value for key, value in data.items() if key != "extends"}
    if isinstance(changes.get("device"), Mapping) and isinstance(base.get("device"), str):
        device = locate("device", base["device"], "topologies/devices")
        base["device"] = read_whole(device, "topologies/devices")
    try:
        return merged(without_sources(base, changes), changes)
    except WrongFactorError as error:
        place = f"{trail[-1]}: " if trail else ""
        raise TopologyError(f"{place}{'.'.join(map(str, error.path))}: {error}") from None


def _anchored(data: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return a file's keys with the files beside it by their whole path.

    What it says is soon mixed with what a file in another folder says.
    """
    found: dict[str, Any] = {}
    for key, value in data.items():
        if isinstance(value, Mapping):
            found[key] = _anchored(value, folder)
        elif key in _NAMES and isinstance(value, str) and is_file(folder / value):
            found[key] = str(folder / value)
        else:
            found[key] = value
    return found
