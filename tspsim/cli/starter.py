"""A first scenario of one's own: from five answers to a file with comments that runs."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from tspsim.files.errors import ScenarioError, UserError
from tspsim.files.source import parse
from tspsim.registry import STRATEGIES
from tspsim.scenario.loader import Opened
from tspsim.scenario.types import Scenario
from tspsim.sweeps.strategies import alternatives

#: Where comments begin.
_COLUMN = 36
#: What is generated, and how many sequences a cache is of, where nobody says.
_NEW_TOKENS, _CACHED = 256, 16
#: What vocabularies that no degree divides are padded to a multiple of, as Megatron-LM does.
_PADDED = 128


@dataclass(frozen=True, slots=True)
class Answers:
    """What a first scenario is made from.

    Parameters
    ----------
    model, topology : str
        Shipped names, or files.
    phase : str
    sequence : int
        Tokens of one sequence; in decode those that are cached.
    strategy : str
        Its kind.
    """

    model: str
    topology: str
    phase: str
    sequence: int
    strategy: str


def scenario_text(answers: Answers, file: str) -> str:
    """Return a scenario with comments: the strategy has degrees that fit, and it can be run.

    Parameters
    ----------
    answers : Answers
    file : str
        What the file will be called, for messages and comments.

    Raises
    ------
    UserError
        When nothing that is tried can run: what is wrong with the one that has the least wrong.
    """
    whole = Opened(parse(_text(answers, _ALONE, file), file), None).data()
    wrong: list[ScenarioError] = []
    for facts, strategy in product(_facts(whole), _strategies(answers, whole)):
        text = _text(answers, strategy, file, facts)
        try:
            _scenario(text, file)
        except ScenarioError as error:
            wrong.append(error)
        else:
            return text
    if not wrong:
        raise UserError(
            f"strategy {answers.strategy} needs more devices than {answers.topology} has"
        )
    raise min(wrong, key=lambda error: len(error.lines))


def _scenario(text: str, file: str) -> Scenario:
    return Opened(parse(text, file), None).scenario()


@dataclass(frozen=True, slots=True)
class _Facts:
    """What a file has to say because of the model and the hardware.

    Parameters
    ----------
    experts : bool
        Whether the model has any.
    dtype : str
        One that the devices state a rate for.
    vocab : int, optional
        What a vocabulary is padded to that cannot be divided.
    """

    experts: bool = False
    dtype: str = "bf16"
    vocab: int | None = None


def _facts(whole: dict[str, Any]) -> Iterator[_Facts]:
    """Yield them with the model as it is, then with its vocabulary padded."""
    vocab = whole["model"].get("vocab") or 0
    found = _Facts(bool(whole["model"].get("experts")), _dtype(whole["topology"]))
    yield found
    if vocab % _PADDED:
        yield replace(found, vocab=_PADDED * math.ceil(vocab / _PADDED))


def _dtype(hardware: dict[str, Any]) -> str:
    while isinstance(hardware.get("node"), dict):
        hardware = hardware["node"]
    devices = hardware.get("devices") or [hardware.get("device")]
    rates = devices[0].get("flop_rate") if isinstance(devices[0], dict) else None
    lacks = isinstance(rates, dict) and "bf16" not in rates and "fp16" in rates
    return "fp16" if lacks else "bf16"


def _strategies(answers: Answers, whole: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the ways to use all devices, with as few replicas as there are nodes or more."""
    hardware = whole["topology"]
    nodes, devices = hardware.get("nodes", 1), _devices(hardware)
    splits = bool(STRATEGIES.get(answers.strategy).degrees())  # then over two devices at least
    for replicas in range(nodes, devices // (2 if splits else 1) + 1):
        if devices % replicas == 0:
            given = {"dp": replicas} if replicas > 1 else {}
            yield from alternatives({"kind": answers.strategy}, given, {}, devices)


def _devices(hardware: dict[str, Any]) -> int:
    from pydantic import ValidationError

    from tspsim.topology.forms import explain
    from tspsim.topology.load import parse as parse_topology

    try:
        return parse_topology(hardware).count()
    except ValidationError as error:
        raise UserError(f"topology: {explain(error)}") from None


#: What stands in the place of a strategy, until it is known how many devices there are.
_ALONE = {"kind": "fsdp", "dp": 1}


def _text(answers: Answers, strategy: dict[str, Any], file: str, facts: _Facts = _Facts()) -> str:
    """Return the file."""
    lines = [
        f"# Question: how long does {_WORK[answers.phase]} of {answers.model} take on",
        f"# {answers.topology}, where does the time go, and does it fit?",
        f"#   tspsim run {file}",
        f"#   tspsim explain {file}",
        f"#   tspsim compare {file} strategy=tsp,tp,sp,tp_sp",
        *[f"#   tspsim compare {file} strategy.experts.layout=tokens,ring,tensor"] * facts.experts,
        "",
        _model(answers.model, facts.vocab),
        "",
        "workload:",
        *(_line(f"  {key}: {value}", about) for key, value, about in _workload(answers, facts)),
        "",
        _line(f"topology: {{file: {_word(answers.topology)}}}", "tspsim list topologies"),
        "",
        "strategy:",
        *(_line(f"  {key}: {_word(value)}", _of(key)) for key, value in strategy.items()),
    ]
    return "\n".join(lines) + "\n"


def _model(name: str, vocab: int | None) -> str:
    if vocab:
        return _line(f"model: {{hf: {_word(name)}, vocab: {vocab}}}", "padded, so that it divides")
    return _line(f"model: {{hf: {_word(name)}}}", "tspsim list models, or a config.json")


#: What is asked, by phase.
_WORK = {
    "train": "a training step", "forward": "a forward pass", "prefill": "a prompt",
    "decode": "one more token of every sequence", "generate": "a prompt with its answer",
}  # fmt: skip


def _of(key: str) -> str:
    """Return what an option of a strategy is."""
    return {"kind": "tspsim list strategies", "dp": "replicas"}.get(key, "ranks along it")


def _workload(answers: Answers, facts: _Facts) -> Iterator[tuple[str, str | int, str]]:
    """Yield the keys of the workload, each with its value and a comment."""
    tokens = answers.sequence
    yield "phase", answers.phase, "train, forward, prefill, decode or generate"
    if answers.phase == "decode":
        yield "cached", tokens, "tokens of each sequence in the cache"
        yield "batch", _CACHED, "sequences of a replica"
    else:
        key = "prompt" if answers.phase == "generate" else "sequence"
        yield key, tokens, "tokens of a sequence"
        if answers.phase == "generate":
            yield "new_tokens", _NEW_TOKENS, "tokens behind it"
        yield "batch", 1, "sequences of a micro-batch of a replica"
    if answers.phase == "train":
        yield "micro_batches", 1, "of a step; their gradients add up"
        yield "recompute", "full", "none, selective or full: time against memory"
    yield "dtype", facts.dtype, "of activations and messages"


def _line(text: str, about: str) -> str:
    return f"{text:<{_COLUMN - 1}} # {about}"


def _word(value: Any) -> str:
    """Return a value as YAML has it; a name that needs no quotes without them."""
    plain = isinstance(value, int) or re.fullmatch(r"[A-Za-z/.~][\w./-]*", str(value))
    return str(value) if plain else json.dumps(value, ensure_ascii=False)
