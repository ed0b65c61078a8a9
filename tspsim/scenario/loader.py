"""From a file and overrides to a `Scenario`, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.files.arguments import checked
from tspsim.files.characters import printable, problem
from tspsim.files.errors import Problem, ScenarioError
from tspsim.files.faults import found, one
from tspsim.files.reading import is_file, is_folder, is_there
from tspsim.files.source import Source, in_order, read
from tspsim.scenario import files, relative
from tspsim.scenario.elsewhere import with_near
from tspsim.scenario.hints import with_hint
from tspsim.scenario.named import Expansion, expand
from tspsim.scenario.origins import Origins
from tspsim.scenario.overrides import Override, apply, parse_overrides
from tspsim.scenario.parts import read_parts
from tspsim.scenario.stated import Stated, is_one_of, plain
from tspsim.scenario.types import SECTIONS, Scenario

#: Keys of a config.json of Hugging Face, of which every one has some.
_OF_A_CONFIG = {"model_type", "architectures", "num_hidden_layers"}
#: By a file that it holds, what a folder is for that is named in place of a scenario.
_IN_FOLDERS = {
    files.CONFIG: "'tspsim new --model {}' makes a scenario around that model",
    "result.json": "its result is {}/result.json",
    "sweep.sqlite": "it holds a sweep: 'tspsim plot {0} --kind winner', 'tspsim report {0}'",
}


@checked
def load(source: str | Path, overrides: Sequence[str] = ()) -> Scenario:
    """Read, check and resolve a scenario.

    Parameters
    ----------
    source : str or Path
        A YAML file, a ``result.json``, or the name of a shipped scenario.
    overrides : sequence of str
        ``"key=value"`` with dotted keys; of two for the same key the later one counts.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    return Opened.file(source).scenario(overrides)


def from_document(document: Mapping[str, Any], overrides: Sequence[str] = ()) -> Scenario:
    """Check and resolve a scenario that is a mapping already, such as `Scenario.document`.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its path.
    """
    return Opened.document(document).scenario(overrides)


@dataclass(frozen=True, slots=True, eq=False)
class Opened:
    """A scenario's source, read once and resolved with any number of sets of overrides.

    Parameters
    ----------
    source : Source
    path : Path or None
        The file that it was read from; None for a document in memory.
    """

    source: Source
    path: Path | None

    @classmethod
    def file(cls, source: str | Path) -> Opened:
        """Read a scenario's file, given by its path or by the name of a shipped one.

        Raises
        ------
        ScenarioError
            When there is none, or it cannot be read.
        """
        path = files.find(str(source), "scenarios")
        if path is None:
            raise ScenarioError([files.not_found(str(source), "scenarios")])
        name = str(source) if is_there(Path(source)) else str(path)
        _refuse_a_folder(path, name)
        opened = read(path, name)
        _refuse_other_files(opened)
        return cls(opened, path)

    @classmethod
    def document(cls, document: Mapping[str, Any], place: str = "<document>") -> Opened:
        """Take a scenario that is a mapping already.

        Parameters
        ----------
        document : Mapping
            Its sections, as in a file or as Python states them.
        place : str
            What stands in messages where a file's name would.

        Raises
        ------
        ScenarioError
            When a text in it holds control characters.
        """
        source = Source(place, plain(document), None)
        if misplaced := list(_misplaced(document)):
            raise ScenarioError(map(source.line, misplaced))
        if wrong := problem(source.data):
            raise ScenarioError([source.line(wrong)])
        return cls(source, None)

    @property
    def name(self) -> str:
        """What the scenario is called where it does not say so itself."""
        return printable(self.path.stem, lines=False) if self.path else "scenario"

    def scenario(self, overrides: Sequence[str] = ()) -> Scenario:
        """Check and resolve the scenario.

        Raises
        ------
        ScenarioError
            With everything that is wrong, each with its place.
        """
        return _resolve(self, parse_overrides(overrides))

    def data(self, overrides: Sequence[str] = ()) -> dict[str, Any]:
        """Return the scenario's keys with every named file read in, not checked any further.

        Raises
        ------
        ScenarioError
            When a file or an override cannot be read.
        """
        whole, expansion, resolved = _expand(self, parse_overrides(overrides))
        if expansion.failed:
            raise _error(self, expansion, resolved, [])
        return {"name": self.name, **whole}


def _misplaced(document: Mapping[str, Any]) -> Iterator[Problem]:
    """Yield the sections that Python states where another one belongs."""
    for name, each in document.items():
        own = str(name).title()
        if name in SECTIONS and isinstance(each, Stated) and not is_one_of(each, (own,)):
            yield Problem((name,), f"{found(each)}; must be {one(own)}")


def _refuse_other_files(source: Source) -> None:
    """Raise where a model or a topology stands in place of a scenario."""
    keys, name = set(source.data) if isinstance(source.data, Mapping) else set(), source.name
    told = ""
    if _OF_A_CONFIG & keys:
        told = (
            f"a config.json of Hugging Face is a model, no scenario; 'tspsim new --model {name}' "
            f"makes a scenario of it, or 'tspsim import hf {name}'"
        )
    elif {"device", "devices", "node"} & keys:
        told = f"a topology, no scenario; 'tspsim new --topology {name}' makes a scenario on it"
    if told and "workload" not in keys:
        raise ScenarioError([source.line(Problem((), told))])


def _refuse_a_folder(path: Path, name: str) -> None:
    """Raise where a folder is named, with what makes use of such a one."""
    if not is_folder(path):
        return
    held = [use for file, use in _IN_FOLDERS.items() if is_file(path / file)]
    near = f"; {held[0].format(name)}" if held else ""
    raise ScenarioError([f"{name}: is a directory, not a file{near}"])


def _expand(
    opened: Opened, overrides: tuple[Override, ...]
) -> tuple[dict[str, Any], Expansion, tuple[Override, ...]]:
    """Return the scenario's keys with files and overrides in them, and the overrides' meaning."""
    data: dict[str, Any] = opened.source.data
    for part in _root(opened.source.data, opened.source.name):
        data = data[part]
    early, late = relative.split(overrides)
    data, lines = apply(data, early)
    expansion = Expansion(lines=lines)
    whole = expand(data, opened.path.parent if opened.path else None, expansion)
    if late and not expansion.failed:
        whole, late, wrong = relative.apply_late(whole, late)
        expansion.lines.extend(wrong)
    return whole, expansion, (*early, *late)


def _resolve(opened: Opened, overrides: tuple[Override, ...]) -> Scenario:
    whole, expansion, overrides = _expand(opened, overrides)
    parts, problems = read_parts(whole, expansion.broken)
    if problems or expansion.failed or parts is None:
        problems = [with_hint(with_near(each, whole), overrides) for each in problems]
        raise _error(opened, expansion, overrides, problems)
    return parts.scenario(opened.name, str(opened.path) if opened.path else None)


def _error(
    opened: Opened,
    expansion: Expansion,
    overrides: tuple[Override, ...],
    problems: Sequence[Problem],
) -> ScenarioError:
    """Return everything that is wrong, each with its place."""
    root = _root(opened.source.data, opened.source.name)
    origins = Origins(opened.source, root, overrides, tuple(expansion.mounts))
    told = map(origins.line, [*expansion.problems, *problems])
    return ScenarioError(in_order([*expansion.lines, *told]))


def _root(data: Any, name: str) -> tuple[str, ...]:
    """Return where the scenario stands in a file: a result.json holds it under ``document``."""
    if data is None:
        raise ScenarioError([f"{name}: is empty; a scenario has model, workload, topology..."])
    if not isinstance(data, dict):
        raise ScenarioError([f"{name}: {found(data)}; a scenario is a mapping of keys"])
    is_result = isinstance(data.get("document"), dict) and "workload" not in data
    return ("document",) if is_result else ()
