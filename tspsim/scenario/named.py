"""Puts what a named file holds in the place of its name: topologies, models, orders, counts..."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from tspsim.files.characters import printable
from tspsim.files.errors import Problem, ScenarioError, UserError
from tspsim.files.faults import found
from tspsim.files.reading import is_folder
from tspsim.files.shipped import Kind, locate
from tspsim.files.source import KeyPath, Source, read
from tspsim.scenario import counts, files
from tspsim.scenario.models import read_config
from tspsim.scenario.origins import Mount
from tspsim.schedules.orders import reading
from tspsim.strategies.parts.stages import GIVEN
from tspsim.topology.factors import NAMING, WrongFactorError, merged, without_sources
from tspsim.topology.table_files import digest

#: What a file holds that is no mapping of keys.
_Read = TypeVar("_Read", reading.Written, counts.Counts)

#: The files that led to a value: one that names another, which names a third...
Trail = tuple[str, ...]


@dataclass(slots=True)
class Expansion:
    """What came of expanding one scenario.

    Parameters
    ----------
    mounts : list of Mount
        The files read, and where their values stand now.
    problems : list of Problem
        Names that lead to no file.
    lines : list of str
        Mistakes in the files themselves, with their places.
    broken : set of str
        Sections of the scenario that could not be expanded.
    """

    mounts: list[Mount] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)

    @property
    def failed(self) -> int:
        """How many things went wrong so far."""
        return len(self.problems) + len(self.lines)

    def open(self, name: Any, kind: Kind, path: KeyPath, beside: Path | None) -> Source | None:
        """Read a named file; None, with the reason noted, when that cannot be done."""
        if not isinstance(name, str):
            self.problems.append(Problem(path, f"{found(name)}; must be the name of a file"))
            return None
        place = files.find(name, kind, beside)
        if place is None:
            self.problems.append(Problem(path, files.not_found(name, kind)))
            return None
        if kind == "models" and is_folder(place):
            message = f"folder '{name}' holds no {files.CONFIG}, which says a model's shape"
            self.problems.append(Problem(path, message))
            return None
        try:
            return _read_once(place, _shown(place), _state(place))
        except ScenarioError as error:
            self.lines.extend(error.lines)
            return None


@lru_cache(maxsize=64)
def _read_once(place: Path, shown: str, state: tuple[int, int]) -> Source:  # noqa: ARG001
    """Read a file again only when it has changed: sweeps resolve thousands of scenarios."""
    return read(place, shown)


def _state(place: Path) -> tuple[int, int]:
    try:
        found = place.stat()
    except OSError:
        return 0, 0  # reading it says what is wrong
    return found.st_mtime_ns, found.st_size


def expand(data: Mapping[str, Any], beside: Path | None, into: Expansion) -> dict[str, Any]:
    """Return a scenario's keys with every file that they name read in.

    Parameters
    ----------
    data : Mapping
    beside : Path, optional
        Folder of the scenario's file.
    into : Expansion
        Takes the files read, and what is wrong with them.
    """
    sections: dict[str, Callable[[Any, Path | None, Expansion], Any]] = {
        "model": expand_model,
        "topology": lambda keys, near, to: expand_topology(keys, ("topology",), near, to),
        "timing": _expand_timing,
        "strategy": expand_strategy,
        "workload": expand_workload,
    }
    whole = dict(data)
    for section in [name for name in sections if name in whole]:
        before = into.failed
        whole[section] = sections[section](whole[section], beside, into)
        if into.failed > before:
            into.broken.add(section)
    return whole


def _expand_timing(data: Any, beside: Path | None, into: Expansion) -> Any:
    if not isinstance(data, dict) or "profile" not in data:
        return data
    profile = expand_profile(data["profile"], ("timing", "profile"), beside, into)
    return {**data, "profile": profile}


def expand_model(data: Any, beside: Path | None, into: Expansion) -> Any:
    """Return ``model:`` with what its ``hf:`` file says; the scenario's own keys win."""
    if not isinstance(data, dict) or "hf" not in data:
        return data
    config = into.open(data["hf"], "models", ("model", "hf"), beside)
    if config is None:
        return None
    try:
        keys, places = read_config(config)
    except ScenarioError as error:
        into.lines.extend(error.lines)
        return None
    into.mounts.append(Mount(("model",), config, places))
    return {**keys, **{key: value for key, value in data.items() if key != "hf"}}


def expand_strategy(data: Any, beside: Path | None, into: Expansion) -> Any:
    """Return ``strategy:`` with the rows of the file that the schedule of its pipeline names."""
    pipeline = data.get("pp") if isinstance(data, dict) else None
    if not isinstance(pipeline, dict):
        return data
    schedule = pipeline.get("schedule")
    if not isinstance(schedule, dict) or "file" not in schedule:
        return data
    path: KeyPath = ("strategy", "pp", "schedule")
    if beside_it := [key for key in schedule if key != "file"]:
        message = "a file holds all of a schedule; leave this key out, or the file"
        into.problems.append(Problem((*path, beside_it[0]), message))
        return data
    order = _open(schedule["file"], (*path, "file"), beside, into, reading.read)
    if order is None:
        return data
    into.mounts.append(Mount(path, order))
    return {**data, "pp": {**pipeline, "schedule": {GIVEN: order.plain}}}


def expand_workload(data: Any, beside: Path | None, into: Expansion) -> Any:
    """Return ``workload:`` with the counts of the file that its routing names."""
    routing = data.get("routing") if isinstance(data, dict) else None
    if not isinstance(routing, dict) or "file" not in routing:
        return data
    path: KeyPath = ("workload", "routing")
    if beside_it := [key for key in ("table", "layers") if key in routing]:
        message = "a file holds the whole table; leave this key out, or the file"
        into.problems.append(Problem((*path, beside_it[0]), message))
        return data
    read_in = _open(routing["file"], (*path, "file"), beside, into, counts.read)
    if read_in is None:
        return data
    into.mounts.append(Mount(path, read_in))
    rest = {key: value for key, value in routing.items() if key != "file"}
    return {**data, "routing": {**rest, **read_in.plain}}


def _open(
    name: Any, path: KeyPath, beside: Path | None, into: Expansion, reader: Callable[..., _Read]
) -> _Read | None:
    """Read a file that is none of those that ship; None, with the reason noted, if it cannot be."""
    if not isinstance(name, str):
        into.problems.append(Problem(path, f"{found(name)}; must be the name of a file"))
        return None
    place = files.find(name, "scenarios", beside)
    if place is None:
        message = f"found no file '{name}'; looked beside the scenario and in the working directory"
        into.problems.append(Problem(path, message))
        return None
    try:
        return reader(place, _shown(place))
    except ScenarioError as error:
        into.lines.extend(error.lines)
        return None


def expand_topology(
    data: Any, path: KeyPath, beside: Path | None, into: Expansion, trail: Trail = ()
) -> Any:
    """Return a topology with the files that it, its nodes and its devices name.

    None where a file cannot be read: what is wrong is noted in `into`.
    """
    data = _with_file(data, "topologies", path, beside, into, trail)
    if not isinstance(data, dict):
        return data
    whole = dict(data)
    if "node" in whole:
        whole["node"] = expand_topology(whole["node"], (*path, "node"), beside, into, trail)
    if "device" in whole:
        whole["device"] = expand_device(whole["device"], (*path, "device"), beside, into)
    if isinstance(whole.get("devices"), list):
        whole["devices"] = [
            expand_device(device, (*path, "devices", i), beside, into)
            for i, device in enumerate(whole["devices"])
        ]
    return whole


def expand_device(
    data: Any, path: KeyPath, beside: Path | None, into: Expansion, trail: Trail = ()
) -> Any:
    """Return a device with its own file and that of its profile read in."""
    device = _with_file(data, "topologies/devices", path, beside, into, trail)
    if isinstance(device, dict) and "profile" in device:
        profile = expand_profile(device["profile"], (*path, "profile"), beside, into)
        device = {**device, "profile": profile}
    return device


def expand_profile(
    data: Any, path: KeyPath, beside: Path | None, into: Expansion, trail: Trail = ()
) -> Any:
    """Return a profile with its file read in, and which file of tables it means."""
    profile = _with_file(data, "topologies/profiles", path, beside, into, trail)
    tables = profile.get("tables") if isinstance(profile, dict) else None
    if not isinstance(profile, dict) or not isinstance(tables, dict):
        return profile
    return {**profile, "tables": _identified(tables, beside)}


def _identified(tables: dict[str, Any], beside: Path | None) -> dict[str, Any]:
    """Return tables with the whole path of a file of one's own, and its digest."""
    name = str(tables.get("file"))
    try:
        place = locate("table", name, "topologies/tables", beside)
        stated = {"digest": digest(place), **tables}
    except UserError:
        return tables  # what is wrong is said when the profile is checked
    own = beside is not None and place == beside / name
    return {**stated, "file": str(place)} if own else stated


_EXPAND: dict[Kind, Callable[[Any, KeyPath, Path | None, Expansion, Trail], Any]] = {
    "topologies": expand_topology,
    "topologies/devices": expand_device,
    "topologies/profiles": expand_profile,
}


def _with_file(
    data: Any, kind: Kind, path: KeyPath, beside: Path | None, into: Expansion, trail: Trail
) -> Any:
    """Return a mapping with its ``file:`` or ``extends:`` read in, and changed by its other keys.

    Devices and profiles may be named by a text alone.
    """
    if isinstance(data, str) and kind != "topologies":
        return _named(data, kind, path, path, beside, into, trail)
    naming = [key for key in NAMING if key in data] if isinstance(data, dict) else []
    if not naming:
        return data
    if len(naming) > 1:
        message = "'file' and 'extends' both name what the other keys change: one of them"
        into.problems.append(Problem((*path, naming[1]), message))
        return None
    base = _named(data[naming[0]], kind, path, (*path, naming[0]), beside, into, trail)
    if not isinstance(base, dict):
        return None
    changes = {key: value for key, value in data.items() if key != naming[0]}
    if naming[0] == "extends":
        base = without_sources(base, changes)
    try:
        return merged(base, changes)
    except WrongFactorError as error:
        into.problems.append(Problem((*path, *error.path), str(error)))
        return None


def _named(
    name: Any, kind: Kind, path: KeyPath, at: KeyPath, beside: Path | None, into: Expansion,
    trail: Trail,
) -> Any:  # fmt: skip
    """Return what a named file holds, with the files that it names in turn; `at`: its name."""
    source = into.open(name, kind, at, beside)
    if source is None:
        return None
    if source.name in trail:
        circle = " -> ".join((*trail[trail.index(source.name) :], source.name))
        into.problems.append(Problem(path, f"files name each other in a circle: {circle}"))
        return None
    if not isinstance(source.data, dict):
        into.lines.append(f"{source.name}: {found(source.data)}; must be a mapping of keys")
        return None
    data = source.data
    if "extends" in data and "name" not in data:
        # it is not what it extends
        data = {"name": printable(Path(source.name).stem, lines=False), **data}
    base = _EXPAND[kind](data, path, Path(source.name).parent, into, (*trail, source.name))
    # After the files that it names in turn: the later mount is the one that counts.
    into.mounts.append(Mount(path, source))
    return base


def _shown(path: Path) -> str:
    """Return a path as messages show it: from the working directory where it lies below."""
    here = Path.cwd()
    whole = path.absolute()
    return str(whole.relative_to(here)) if whole.is_relative_to(here) else str(path)
