"""Which of the shipped models a shape is: its name, for a scenario keeps sizes alone."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from tspsim.files.shipped import shipped
from tspsim.files.source import read
from tspsim.model import ModelShape
from tspsim.scenario import files
from tspsim.scenario.models import read_config
from tspsim.scenario.schema import ModelKeys


@cache
def model_name(shape: ModelShape) -> str:
    """Return the name of the shipped model that has every size of a shape.

    ``"llama-3-8b"``; ``"2 layers of llama-3-8b"`` where only their number is another one, or the
    vocabulary was left out; empty where there is no such model.
    """
    for name, known in _shapes().items():
        if known == shape:
            return name
    for name, known in _shapes().items():
        if replace(known, layers=shape.layers, vocab=shape.vocab and known.vocab) == shape:
            return f"{shape.layers} layer{'s' * (shape.layers > 1)} of {name}"
    return ""


@cache
def _shapes() -> dict[str, ModelShape]:
    """Return the shapes of the shipped models by name."""
    found = {}
    for name in files.names("models"):
        path = shipped("models") / name / files.CONFIG
        keys, _ = read_config(read(path, str(path)))
        found[name] = ModelKeys(**keys).value()
    return found
