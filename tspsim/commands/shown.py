"""What all answers have in common, and what the functions take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tspsim.result import Result
from tspsim.scenario.loader import Opened
from tspsim.scenario.stating import restated
from tspsim.scenario.types import Scenario

#: A scenario's file or its name among the shipped ones, its keys, or one that is loaded or made.
Source = str | Path | Mapping[str, Any] | Scenario


def named(source: Source | Result) -> str | Mapping[str, Any]:
    """Return a scenario's name, or its keys."""
    if isinstance(source, Result):
        return restated(source.scenario)
    if isinstance(source, Scenario):
        return restated(source)
    return str(source) if isinstance(source, Path) else source


def opened(source: Source) -> Opened:
    """Return a scenario's source, read but not checked."""
    place = named(source)
    return Opened.document(place) if isinstance(place, Mapping) else Opened.file(place)


def loaded(source: Source | Result, changes: tuple[str, ...]) -> Scenario:
    """Return a scenario with some changes."""
    if isinstance(source, Result):
        source = source.scenario
    if isinstance(source, Scenario):
        return source.replace(*changes) if changes else source
    return opened(source).scenario(changes)
