"""What lies on every rank of a pipeline: its stages, and the layers of each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.scenario.types import Scenario


def found(scenario: Scenario) -> dict[str, Any]:
    """Return the pipeline of a scenario as a JSON-able mapping under one key; empty without one."""
    pipeline = scenario.strategy.pp
    if pipeline is None:
        return {}
    roles = pipeline.roles(scenario.model, scenario.workload)
    ranks = [
        [
            {"stage": stage, "layers": list(role.of(stage)), "ends": list(role.ends(stage))}
            for stage in role.mine
        ]
        for role in roles
    ]
    return {"pipeline": {"schedule": pipeline.kind, "ranks": ranks}}


def rows(overview: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return a line of words per rank: ``stage 0: embedding, layers 0-1``."""
    vocabulary = bool(overview["document"]["model"]["vocab"])
    return [
        (f"pp {place}", "; ".join(_words(stage, vocabulary) for stage in stages))
        for place, stages in enumerate(overview["pipeline"]["ranks"])
    ]


def _words(stage: Mapping[str, Any], vocabulary: bool) -> str:
    layers, (first, last) = stage["layers"], stage["ends"]
    named = f"layers {layers[0]}-{layers[-1]}" if len(layers) > 1 else "layer {}"
    held = [
        *["embedding"] * (first and vocabulary),
        named.format(*layers) if layers else "no layer",
        *["head"] * (last and vocabulary),
    ]
    return f"stage {stage['stage']}: {', '.join(held)}"
