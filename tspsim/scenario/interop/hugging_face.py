"""From a Hugging Face folder or ``config.json`` to a scenario around its model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from tspsim.files.errors import ScenarioError, UserError
from tspsim.files.reading import is_file, is_folder
from tspsim.files.source import Source
from tspsim.files.source import read as read_source
from tspsim.scenario import files
from tspsim.scenario.interop.draft import Draft, Key, grouped
from tspsim.scenario.interop.machine import NODE, size
from tspsim.scenario.models import read_config

CONFIG = "config.json"
SEQUENCE = 8192
#: Keys of published models that say nothing of the decoder itself, and what is not modelled so.
_BESIDE = {
    "num_nextn_predict_layers": "layers that predict further tokens, behind the decoder",
    "quantization_config": "how weights are stored; workload.linears: fp8 multiplies in it",
}


def read(path: str, topology: str | None = None) -> Draft:
    """Return a scenario of a model, with an example of everything else.

    Parameters
    ----------
    path : str
        A folder with a ``config.json``, such a file, or the name of a shipped model.
    topology : str, optional
        A file, or a shipped name.

    Raises
    ------
    ScenarioError
        With everything that is wrong, each with its place.
    """
    whole = read_source(_found(path), path)
    config, beside = _decoder(whole)
    keys, origins = read_config(config)
    where = topology or NODE
    model = list(_model(keys, config, origins))
    head = (f"The model of {config.name}; everything else is an example to be changed.",)
    for strategy in _strategies(size(where)):
        draft = Draft(head, (*model, *_rest(config, where), *strategy), grouped(beside))
        try:
            draft.scenario()
        except ScenarioError as error:
            if not any(": strategy" in f": {line}" for line in error.lines):
                raise
            last = error
        else:
            return draft
    raise last


def _decoder(config: Source) -> tuple[Source, list[tuple[str, str, bool]]]:
    """Return a configuration without what stands beside its decoder, and what that is."""
    data = config.data
    if not isinstance(data, Mapping):
        return config, []
    beside = [(key, why, True) for key, why in _BESIDE.items() if data.get(key)]
    names = {key for key, _, _ in beside}
    rest = {key: value for key, value in data.items() if key not in names}
    return (replace(config, data=rest), beside) if beside else (config, [])


def _found(path: str) -> Path:
    """Return the configuration that is meant.

    Raises
    ------
    UserError
        When there is none; what is there instead.
    """
    given = Path(path)
    if is_folder(given):
        if is_file(given / CONFIG):
            return given / CONFIG
        held = sorted(each.name for each in given.iterdir())
        message = f"has no {CONFIG}; it holds {', '.join(held[:6]) or 'nothing'}"
        raise UserError(f"{path}: {message}: name the folder of a model, or its {CONFIG}")
    there = files.find(path, "models")
    if there is None:
        raise UserError(files.not_found(path, "models"))
    return there / CONFIG if is_folder(there) else there


def _model(
    keys: Mapping[str, Any], config: Source, origins: Mapping[str, tuple[str | int, ...]]
) -> Iterator[Key]:
    for ours, value in keys.items():
        place, theirs = "", ""
        if ours in origins and config.has(origins[ours]):
            place, theirs = config.place(origins[ours]), ".".join(map(str, origins[ours]))
        note = "" if theirs else f"of model_type {config.data['model_type']}"
        for path, each in _leaves((f"model.{ours}",), value):
            yield Key(tuple(".".join(path).split(".")), each, theirs, place, note)


def _leaves(path: tuple[str, ...], value: Any) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not isinstance(value, Mapping):
        if value is not None:
            yield path, value
        return
    for key, each in value.items():
        yield from _leaves((*path, key), each)


def _rest(config: Source, topology: str) -> Iterator[Key]:
    longest = config.data.get("max_position_embeddings", config.data.get("n_positions"))
    known = isinstance(longest, int) and 0 < longest < SEQUENCE
    tokens = longest if known else SEQUENCE
    yield Key(("workload", "sequence"), tokens, note="an example")
    yield Key(("workload", "recompute"), "full", note="an example")
    yield Key(("topology", "file"), topology, note="an example: name another with --topology")


def _strategies(ranks: int) -> Iterator[tuple[Key, ...]]:
    """Yield strategies to be tried: TSP of as many ranks as can be, or no axis of its own."""
    for degree in (n for n in range(ranks, 0, -1) if ranks % n == 0 and (n > 1 or ranks == 1)):
        yield (
            Key(("strategy", "kind"), "tsp", note="an example: see 'tspsim list strategies'"),
            Key(("strategy", "degree"), degree),
            Key(("strategy", "dp"), ranks // degree),
        )
    yield Key(("strategy", "kind"), "fsdp", note="an example"), Key(("strategy", "dp"), ranks)
