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
from tspsim.files.reading import read_text
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
_FLAGS = re.compile(r"""((?:'[^']*'|"[^"]*"|[^'"])*?)(?: \(.*)?$""")


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
    text = read_text(Path(scenario.path or path))
    world, line = len(scenario.topology.devices), stated(text)
    before = _scenario(line, world) if line else None
    if line and before and not list(_differences(scenario, before)):
        return Back({name: given.values for name, given in line.given.items()}, world, ())
    flags = written(scenario)
    differ = list(_differences(scenario, _scenario(_line(flags), world)))
    wrong = [f"{path}: {told}" for key, told in differ if not key.startswith(_LEFT)]
    if wrong:
        raise ScenarioError(wrong)
    found = _changed(scenario, line, before, flags) if line else flags
    return Back(found, world, tuple(told for _, told in differ))


def _changed(
    scenario: Scenario, line: CommandLine, before: Scenario | None, flags: Values
) -> Values:
    """Return the flags that the comments name, with what was changed since.

    Parameters
    ----------
    scenario : Scenario
    line : CommandLine
        What the comments name.
    before : Scenario or None
        What that says; None: nothing any more.
    flags : dict
        What the scenario says.
    """
    fates = {name: line.known[name].fate for name in line.given}
    result = {name: given.values for name, given in line.given.items()}
    rest = {name: values for name, values in result.items() if fates[name] != "mapped"}
    had = written(before) if before else {}
    for name in [*had, *flags]:
        if had.get(name) != flags.get(name):
            result.pop(name, None)
            result |= {name: flags[name]} if name in flags else {}
    # What is padded for other degrees is another vocabulary.
    vocabulary = {name: flags[name] for name in _VOCABULARY if name in flags}
    for tried in (result, {**result, **vocabulary}):
        again = _scenario(_line(tried), len(scenario.topology.devices))
        if all(key.startswith(_LEFT) for key, _ in _differences(scenario, again)):
            return tried
    return {**flags, **rest}


def _line(flags: Values) -> CommandLine | None:
    try:
        return command(shown(flags), "flags")
    except ScenarioError:
        return None


def _scenario(line: CommandLine | None, world: int) -> Scenario | None:
    """Return what a command line says; None where it contradicts itself."""
    try:
        return draft(line, world).scenario() if line else None
    except ScenarioError:
        return None


def stated(text: str) -> CommandLine | None:
    """Return the flags that comments of a scenario name; None where they are no such flags."""
    parts = [match[1] for line in _COMMENT.findall(text) if (match := _FLAGS.match(line))]
    try:
        return command("\n".join(parts), "comments") if parts else None
    except ScenarioError:
        return None


def _differences(scenario: Scenario, again: Scenario | None) -> Iterator[tuple[str, str]]:
    """Yield what is another in what flags say: the key, and a line about it."""
    if again is None:
        yield "", f"it says what the flags of {TOOL} cannot say together"
        return
    for section in SECTIONS:
        mine, theirs = (dict(_leaves(meant(s)[section], section)) for s in (scenario, again))
        for key in dict.fromkeys([*mine, *theirs]):
            if mine.get(key) != theirs.get(key):
                has = found(theirs.get(key)).removeprefix("found ")
                message = f"{found(mine.get(key))}; {TOOL} with these flags has {has}"
                yield key, printable(f"{key}: {message}")


def meant(scenario: Scenario) -> dict[str, Any]:
    """Return a scenario's document with what it leaves open as it is then done."""
    document, strategy = dict(scenario.document), scenario.strategy
    said = dict(document["strategy"])
    if strategy.overlap_gradients is None and strategy.zero < 2:
        said["overlap_gradients"] = strategy.zero == 0
    pipeline = strategy.pp
    if pipeline and pipeline.kind != "given":
        options = {"kind": pipeline.kind, **pipeline.read_schedule().model_dump()}
        if options.get("group_size", 0) is None:
            options["group_size"] = pipeline.stages
        many = pipeline.chunk_count
        layers = pipeline.split(scenario.model, pipeline.stages * many)
        counts = [len(each) for each in layers or ()]
        said["pp"] = {**said["pp"], "schedule": options, "chunks": many, "layers": counts}
    return {**document, "strategy": said}


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{path}.{key}")
    elif value is not None:
        yield path, list(value) if isinstance(value, tuple) else value
