"""A command line with flags: which are given, where, and with what."""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import ScenarioError, did_you_mean
from tspsim.files.source import in_order
from tspsim.scenario.interop.flags import Flag, whole
from tspsim.scenario.interop.script import command, is_script
from tspsim.scenario.interop.words import Word, words

#: What a launcher calls the devices of a node, and the nodes.
_DEVICES = ("nproc-per-node", "nproc_per_node", "num_gpus")
_NODES = ("nnodes", "nodes", "num_nodes")


@dataclass(frozen=True, slots=True)
class Given:
    """The values of a flag that is given, and its place."""

    values: tuple[str, ...]
    place: str


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The flags of a command line.

    Parameters
    ----------
    name : str
        Of the command line, for messages.
    known : Mapping of str to Flag
        All that there are, by name.
    given : Mapping of str to Given
        In the order of the command line; of a flag that is given twice its last place and values.
    world : int or None
        Devices, by the launcher that stands in front.
    """

    name: str
    known: Mapping[str, Flag]
    given: Mapping[str, Given]
    world: int | None = None

    def has(self, name: str) -> bool:
        """Whether a flag is given."""
        return name in self.given

    def get(self, name: str) -> Any:
        """Return the value of a flag: of one that takes none whether it is given."""
        flag, given = self.known[name], self.given.get(name)
        if given is None:
            return flag.default if flag.takes != "nothing" else False
        return flag.value(given.values)

    def place(self, name: str) -> str:
        """Return where a flag is given; for one that is not, the command line's name."""
        return self.given[name].place if name in self.given else self.name

    def text(self, names: Sequence[str]) -> str:
        """Return those of some flags that are given, as they are written."""
        return shown({name: self.given[name].values for name in names if name in self.given})

    def line(self, name: str, message: str) -> str:
        """Return a line about a flag, with its place."""
        return f"{self.place(name)}: --{name}: {message}"


def shown(flags: Mapping[str, tuple[str, ...]]) -> str:
    """Return flags as they are written on a command line."""
    parts = ([f"--{name}", *map(shlex.quote, values)] for name, values in flags.items())
    return " ".join(word for part in parts for word in part)


def parse(text: str, name: str, known: Mapping[str, Flag], tool: str) -> CommandLine:
    """Read a command line, with or without the launcher and the program in front.

    Parameters
    ----------
    text : str
    name : str
        Its file, or what it is called in messages.
    known : Mapping of str to Flag
    tool : str
        Whose flags these are, for messages.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    found, wrong = (command if is_script(text) else words)(text, name)
    program = next((i for i, word in enumerate(found) if word.text.endswith(".py")), -1)
    given: dict[str, Given] = {}
    at = program + 1
    while at < len(found):
        at = _flag(found, at, given, wrong, known, tool)
    for flag, each in given.items():
        if message := known[flag].problem(each.values):
            near = did_you_mean(each.values[0], known[flag].choices) if each.values else ""
            wrong.append(f"{each.place}: --{flag}: {message}{near}")
    if not found and not wrong:
        wrong.append(f"{name}: is empty; must be flags of {tool}")
    if wrong:
        raise ScenarioError(in_order(wrong))
    return CommandLine(name, known, given, _world(found[: program + 1]))


def _flag(
    found: Sequence[Word],
    at: int,
    given: dict[str, Given],
    wrong: list[str],
    known: Mapping[str, Flag],
    tool: str,
) -> int:
    """Take the flag that stands at a word, with its values; return where the next one stands."""
    word = found[at]
    if word.open and not word.text.startswith("--"):
        wrong.append(_open(word))
        return _next_flag(found, at + 1)
    name, equals, value = word.text.removeprefix("--").partition("=")
    flag = known.get(name) if word.text.startswith("--") else None
    if flag is None:
        what = f"unknown flag of {tool}{did_you_mean(name, known)}"
        what = what if word.text.startswith("--") else f"found a word; must be a flag of {tool}"
        wrong.append(f"{word.place}: {word.text.partition('=')[0]}: {what}")
        return _next_flag(found, at + 1)
    end = _next_flag(found, at + 1) if flag.many or not equals else at + 1
    most = end if flag.many else min(end, at + 1 + (flag.one and not equals))
    values = tuple(each.text for each in found[at + 1 : most])
    given.pop(name, None)
    unknown = [_open(each) for each in found[at:most] if each.open]
    if unknown and flag.fate == "mapped":
        wrong += unknown
        return most
    given[name] = Given((value, *values) if equals else values, word.place)
    return most


def _open(word: Word) -> str:
    return f"{word.place}: found '{word.open}', which only the shell knows; write its value"


def _next_flag(found: Sequence[Word], at: int) -> int:
    while at < len(found) and not found[at].text.startswith("--"):
        at += 1
    return at


def _world(launcher: Sequence[Word]) -> int | None:
    """Return the devices that a launcher starts processes on, if it says so."""
    texts = [part for word in launcher for part in word.text.split("=", 1)]
    stated = dict(zip([text.lstrip("-") for text in texts], texts[1:], strict=False))
    counts = [
        next((whole(stated[name]) for name in names if name in stated), None)
        for names in (_DEVICES, _NODES)
    ]
    if counts[0] is None:
        return None
    return math.prod(count or 1 for count in counts if count is not None)
