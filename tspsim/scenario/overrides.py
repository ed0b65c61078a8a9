"""``key=value`` on the command line: changes a scenario before it is checked."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import ScenarioError
from tspsim.files.source import KeyPath, parse

#: Keys whose text is the name of something with keys of its own: the key that names it there.
NAMED = {"device": "file", "profile": "file", "kernels": "preset", "schedule": "kind"}


@dataclass(frozen=True, slots=True)
class Override:
    """One ``key=value``.

    Parameters
    ----------
    text : str
        As written, for messages.
    path : tuple of str or int
        The dotted key: ``("strategy", "degree")``.
    value : object
        The right-hand side, read as YAML 1.2.
    """

    text: str
    path: KeyPath
    value: Any

    @property
    def place(self) -> str:
        """What stands in a message where a file's place would."""
        return f"override '{self.text}'"


def parse_override(text: str) -> Override:
    """Read one ``key=value``.

    Raises
    ------
    ScenarioError
        When there is no key, no value, or the value is not YAML.
    """
    if not isinstance(text, str):  # from Python: a list, where several texts are meant
        told = "must be text, one 'key=value' for each change, such as 'strategy.degree=4'"
        raise ScenarioError([f"override {text!r}: {told}"])
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise ScenarioError(
            [f"override '{text}': must be key=value with a dotted key, such as strategy.degree=4"]
        )
    if not value.strip():
        raise ScenarioError([f"override '{text}': has no value after the '='"])
    path = tuple(int(part) if part.isdecimal() else part for part in parts)
    try:
        return Override(text, path, parse(value.strip(), "").data)
    except ScenarioError as error:
        # A line and column of one value on the command line say nothing.
        reason = re.sub(r"^(:\d+)+", "", str(error))
        raise ScenarioError([f"override '{text}'{reason}"]) from None


def parse_overrides(texts: Sequence[str]) -> tuple[Override, ...]:
    """Read several ``key=value``, telling everything that is wrong with them at once."""
    overrides: list[Override] = []
    lines: list[str] = []
    for text in texts:
        try:
            overrides.append(parse_override(text))
        except ScenarioError as error:
            lines.extend(error.lines)
    if lines:
        raise ScenarioError(lines)
    return tuple(overrides)


def apply(data: dict[str, Any], overrides: Sequence[Override]) -> tuple[dict[str, Any], list[str]]:
    """Return a copy of a scenario's plain values with the overrides in it, later ones last.

    A key that is not there yet is added: whether the scenario may have it is for its schema to
    say, which then names the override. A path that leads through something without keys is left
    out; the second value has a line for each.
    """
    changed = copy.deepcopy(data)
    lines = [line for override in overrides if (line := _set(changed, override))]
    return changed, lines


def _set(data: Any, override: Override) -> str | None:
    """Set one value in place; return what is wrong, if anything."""
    *parents, last = override.path
    for depth, part in enumerate(parents):
        if not _has_place(data, part):
            return _no_place(data, override, depth)
        key: Any = part if isinstance(data, list) else str(part)
        if isinstance(data, dict) and data.get(key) is None:
            data[key] = {}
        if key in NAMED and isinstance(data[key], str):
            data[key] = {NAMED[key]: data[key]}  # of what is named, one value changes
        data = data[key]
    if not _has_place(data, last):
        return _no_place(data, override, len(parents))
    data[last if isinstance(data, list) else str(last)] = copy.deepcopy(override.value)
    return None


def _has_place(data: Any, part: str | int) -> bool:
    if isinstance(data, list):
        return isinstance(part, int) and part < len(data)
    return isinstance(data, dict)


def _no_place(data: Any, override: Override, depth: int) -> str:
    parent = ".".join(map(str, override.path[:depth]))
    kind = f"a list of {len(data)}" if isinstance(data, list) else repr(data)
    return f"{override.place}: '{parent}' is {kind} and has no key '{override.path[depth]}'"
