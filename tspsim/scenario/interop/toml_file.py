"""A TOML file whose keys are known: their values, and their places."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import ScenarioError, did_you_mean
from tspsim.files.faults import found
from tspsim.files.source import in_order
from tspsim.scenario.interop.flags import Flag

_TYPES: dict[str, tuple[type, ...]] = {
    "nothing": (bool,),
    "integer": (int,),
    "number": (int, float),
    "word": (str,),
    "words": (str, list),
}
_WANTED = {"nothing": "true or false", "word": "text", "words": "a list of texts"}


@dataclass(frozen=True, slots=True)
class TomlFile:
    """A file with keys in sections.

    Parameters
    ----------
    name, text : str
    known : Mapping of str to Flag
        What keys, ``section.key``, take; a boolean takes ``"nothing"``.
    values : Mapping of str to object
    """

    name: str
    text: str
    known: Mapping[str, Flag]
    values: Mapping[str, Any]

    def has(self, key: str) -> bool:
        """Whether a key is stated."""
        return key in self.values

    def get(self, key: str) -> Any:
        """Return a key's value, or its default."""
        return self.values.get(key, self.known[key].default)

    def place(self, key: str) -> str:
        """Return where a key stands, ``file:line:column``; the file where it does not."""
        return _place(self.text, self.name, key)

    def line(self, key: str, message: str) -> str:
        """Return a line about a key, with its place."""
        return f"{self.place(key)}: {key}: {message}"

    def origin(self, keys: Sequence[str]) -> str:
        """Return those of some keys that are stated, with their values."""
        return ", ".join(f"{key} = {_shown(self.get(key))}" for key in keys if self.has(key))


def read(
    text: str, name: str, known: Mapping[str, Flag], passed: Mapping[str, str], tool: str
) -> TomlFile:
    """Read a file.

    Parameters
    ----------
    text, name : str
    known : Mapping of str to Flag
    passed : Mapping of str to str
        Sections that say nothing of a step, whatever their keys are, and why.
    tool : str
        Whose keys these are, for messages.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    try:
        data = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        at = re.search(r" \(at line (\d+), column (\d+)\)", str(error))
        place = f"{name}:{at[1]}:{at[2]}" if at else name
        reason = str(error).partition(" (at")[0]
        raise ScenarioError([f"{place}: not valid TOML: {reason}"]) from None
    values = dict(_leaves(data, ""))
    wrong = []
    for key, value in values.items():
        if key.partition(".")[0] in passed:
            continue
        if message := _problem(known, key, value, tool):
            wrong.append(f"{_place(text, name, key)}: {key}: {message}")
    if wrong:
        raise ScenarioError(in_order(wrong))
    return TomlFile(name, text, known, values)


def _problem(known: Mapping[str, Flag], key: str, value: Any, tool: str) -> str | None:
    flag = known.get(key)
    if flag is None:
        return f"unknown key of {tool}{did_you_mean(key, known)}"
    if flag.fate == "refused":
        return f"{found(value)}; not modelled ({flag.why}); remove it, to simulate a step without"
    types = _TYPES[flag.takes]
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        return f"{found(value)}; must be {_WANTED.get(flag.takes, 'a number')}"
    if flag.choices and value not in flag.choices:
        near = did_you_mean(str(value), flag.choices)
        return f"{found(value)}; allowed: {', '.join(flag.choices)}{near}"
    if isinstance(value, int) and flag.takes == "integer" and value < flag.least:
        return f"{found(value)}; must be an integer of at least {flag.least}"
    return None


def _leaves(data: Mapping[str, Any], path: str) -> Iterator[tuple[str, Any]]:
    for key, value in data.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{path}{key}.")
        else:
            yield f"{path}{key}", value


def _place(text: str, name: str, key: str) -> str:
    """Return where a key stands; `tomllib` does not say it."""
    section, _, last = key.rpartition(".")
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[+\s*([\w.\-]+)\s*\]+", line):
            here = header[1]
        elif here == section and (stated := re.match(rf"(\s*){re.escape(last)}\s*=", line)):
            return f"{name}:{number}:{len(stated[1]) + 1}"
    return name


def _shown(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
