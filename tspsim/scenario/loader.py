"""From a file and overrides to a `Scenario`, or to everything that is wrong with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tspsim.errors import ScenarioError
from tspsim.faults import found
from tspsim.scenario import files
from tspsim.scenario.named import Expansion, expand
from tspsim.scenario.origins import Origins
from tspsim.scenario.overrides import Override, apply, parse_overrides
from tspsim.scenario.parts import read_parts
from tspsim.scenario.strategies import with_kind_hint
from tspsim.scenario.types import Scenario
from tspsim.source import Source, in_order, read


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
    path = files.find(str(source), "scenarios")
    if path is None:
        raise ScenarioError([files.not_found(str(source), "scenarios")])
    shown = str(source) if Path(source).exists() else str(path)
    return _resolve(read(path, shown), parse_overrides(overrides), path)


def from_document(document: Mapping[str, Any], overrides: Sequence[str] = ()) -> Scenario:
    """Check and resolve a scenario that is a mapping already, such as `Scenario.document`.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its path.
    """
    source = Source("<document>", dict(document), None)
    return _resolve(source, parse_overrides(overrides), None)


def _resolve(source: Source, overrides: tuple[Override, ...], path: Path | None) -> Scenario:
    root = _root(source.data, source.name)
    data: dict[str, Any] = source.data
    for part in root:
        data = data[part]
    data, lines = apply(data, overrides)
    expansion = Expansion(lines=lines)
    whole = expand(data, path.parent if path else None, expansion)
    parts, problems = read_parts(whole, expansion.broken)
    if problems or expansion.failed or parts is None:
        if any(override.path == ("strategy", "kind") for override in overrides):
            problems = list(map(with_kind_hint, problems))
        origins = Origins(source, root, overrides, tuple(expansion.mounts))
        lines = [*expansion.lines, *map(origins.line, [*expansion.problems, *problems])]
        raise ScenarioError(in_order(lines))
    stem = path.stem if path else "scenario"
    return parts.scenario(stem, str(path) if path else None)


def _root(data: Any, name: str) -> tuple[str, ...]:
    """Return where the scenario stands in a file: a result.json holds it under ``document``."""
    if data is None:
        raise ScenarioError([f"{name}: is empty; a scenario has model, workload, topology..."])
    if not isinstance(data, dict):
        raise ScenarioError([f"{name}: {found(data)}; a scenario is a mapping of keys"])
    is_result = isinstance(data.get("document"), dict) and "workload" not in data
    return ("document",) if is_result else ()
