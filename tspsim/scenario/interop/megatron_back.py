"""From a scenario to a command line of Megatron-LM, and to the one that it came from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.files.characters import printable
from tspsim.files.errors import ScenarioError
from tspsim.files.faults import found
from tspsim.scenario.interop.command_line import CommandLine, shown
from tspsim.scenario.interop.megatron import TOOL, command, draft
from tspsim.scenario.interop.megatron_written import written
from tspsim.scenario.loader import load
from tspsim.scenario.types import Scenario

Values = dict[str, tuple[str, ...]]
#: Strategies that Megatron-LM has.
KINDS = ("tp", "sp", "tp_sp", "fsdp")
#: Sections that flags say, and keys in them that they leave to Megatron-LM itself.
SECTIONS = ("model", "workload", "optimizer", "strategy", "kernels")
_LEFT = ("kernels", "strategy.bucket", "strategy.pp.streams", "strategy.pp.overlap")
_VOCABULARY = ("vocab-size", "make-vocab-size-divisible-by")
#: A comment that begins with a flag.
_COMMENT = re.compile(r"(?:^|\s)# +(--[a-z].*)$", re.MULTILINE)
#: Flags, up to what a comment says about them.
_FLAGS = re.compile(r"((?:'[^']*'|[^'])*?)(?: \(.*)?$")


@dataclass(frozen=True, slots=True)
class Back:
    """A scenario as a command line.

    Parameters
    ----------
    flags : Mapping of str to tuple of str
    world : int
        Devices.
    notes : tuple of str
        What of the scenario the flags leave to Megatron-LM.
    """

    flags: Mapping[str, tuple[str, ...]]
    world: int
    notes: tuple[str, ...]

    @property
    def text(self) -> str:
        """The flags, one a line."""
        return " \\\n".join(shown({name: values}) for name, values in self.flags.items())


def back(path: Path) -> Back:
    """Return the flags of a scenario.

    Those that its comments name come back as they are, unless a key that they say was changed.

    Raises
    ------
    ScenarioError
        When Megatron-LM cannot do what the scenario asks for.
    """
    scenario = load(path)
    kind = scenario.strategy.kind
    if kind not in KINDS:
        message = f"found '{kind}', which {TOOL} does not have; allowed: {', '.join(KINDS)}"
        raise ScenarioError([f"{path}: strategy.kind: {message}"])
    if scenario.workload.phase != "train":
        message = f"found '{scenario.workload.phase}'; the flags are those of training: train"
        raise ScenarioError([f"{path}: workload.phase: {message}"])
    flags = written(scenario)
    differ = list(_differences(scenario, flags))
    wrong = [f"{path}: {line}" for key, line in differ if not key.startswith(_LEFT)]
    if wrong:
        raise ScenarioError(wrong)
    stated = _as_stated(scenario, flags)
    return Back(stated or flags, len(scenario.topology.devices), tuple(line for _, line in differ))


def _as_stated(scenario: Scenario, flags: Values) -> Values | None:
    """Return the flags that the file's comments name, with what was changed since."""
    assert scenario.path is not None, "it was read from a file"
    line = stated(Path(scenario.path).read_text(encoding="utf-8-sig"))
    if line is None:
        return None
    world, passed = len(scenario.topology.devices), _passed(line)
    try:
        before = written(draft(line, world).scenario())
    except ScenarioError:
        return {**flags, **passed}
    result = {name: given.values for name, given in line.given.items()}
    for name in [*before, *flags]:
        if before.get(name) != flags.get(name):
            result.pop(name, None)
            result |= {name: flags[name]} if name in flags else {}
    if flags == before:
        return result
    # What is padded for other degrees is another vocabulary.
    vocabulary = {name: flags[name] for name in _VOCABULARY if name in flags}
    for tried in (result, {**result, **vocabulary}):
        if all(key.startswith(_LEFT) for key, _ in _differences(scenario, tried)):
            return tried
    return {**flags, **passed}


def stated(text: str) -> CommandLine | None:
    """Return the flags that comments of a scenario name; None where they are no such flags."""
    parts = [match[1] for line in _COMMENT.findall(text) if (match := _FLAGS.match(line))]
    try:
        return command("\n".join(parts), "comments") if parts else None
    except ScenarioError:
        return None


def _passed(line: CommandLine) -> Values:
    fates = {name: line.known[name].fate for name in line.given}
    return {n: line.given[n].values for n, fate in fates.items() if fate != "mapped"}


def _differences(scenario: Scenario, flags: Values) -> Iterator[tuple[str, str]]:
    """Yield what is another when flags are read back: the key, and a line about it."""
    world = len(scenario.topology.devices)
    try:
        again = draft(command(shown(flags), "flags"), world).scenario()
    except ScenarioError as error:
        yield "", f"as flags of {TOOL}: {error.lines[0]}"
        return
    for section in SECTIONS:
        mine, theirs = (dict(_leaves(s.document[section], section)) for s in (scenario, again))
        for key in dict.fromkeys([*mine, *theirs]):
            if mine.get(key) != theirs.get(key):
                has = found(theirs.get(key)).removeprefix("found ")
                message = f"{found(mine.get(key))}; {TOOL} with these flags has {has}"
                yield key, printable(f"{key}: {message}")


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif value is not None:
        yield path, list(value) if isinstance(value, tuple) else value
