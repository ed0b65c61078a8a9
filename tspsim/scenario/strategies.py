"""Reads ``strategy:`` with the options of the strategy that its ``kind`` names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from tspsim.files import faults
from tspsim.files.errors import Problem, did_you_mean
from tspsim.files.faults import found
from tspsim.registry import STRATEGIES
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.placement import placement_problems


def read_strategy(data: Mapping[str, Any]) -> tuple[StrategyOptions | None, list[Problem]]:
    """Return the options, or what is wrong with them (paths from the scenario's root)."""
    kind, known = data.get("kind"), STRATEGIES.names()
    if "kind" not in data:
        return None, [Problem(("strategy", "kind"), f"missing; known: {', '.join(known)}")]
    if not isinstance(kind, str) or kind not in known:
        near = did_you_mean(str(kind), known)
        message = f"{found(kind)}; known: {', '.join(known)}{near}"
        return None, [Problem(("strategy", "kind"), message)]
    options: type[StrategyOptions] = STRATEGIES.get(kind)
    try:
        strategy = options.model_validate(data)
    except ValidationError as error:
        return None, faults.problems(error, options, data, ("strategy",))
    wrong = list(
        placement_problems(
            strategy.axes(),
            strategy.dp,
            strategy.placement,
            strategy.pp.stages if strategy.pp else 1,
        )
    )
    wrong.extend(strategy.replica_problems())
    return (None, wrong) if wrong else (strategy, [])
