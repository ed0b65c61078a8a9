"""Options of strategies as axes: which strategy has which, and what it is with some of them set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.files.source import KeyPath
from tspsim.registry import SCHEDULES, STRATEGIES
from tspsim.scenario.overrides import Override, apply
from tspsim.scenario.relative import present
from tspsim.strategies.parts.stages import Pipeline

#: Where a strategy names the schedule of its pipeline, which has options of its own.
_SCHEDULE = ("pp", "schedule")


def path_of(option: str) -> KeyPath:
    """Return the path of ``pp.stages`` within a strategy."""
    return tuple(int(part) if part.isdecimal() else part for part in option.split("."))


def lacks(strategy: Mapping[str, Any], option: str) -> bool:
    """Say whether an option is none of a strategy's, or of the pipeline or schedule that it has."""
    path = path_of(option)
    first = str(path[0])
    if first not in STRATEGIES.get(str(strategy["kind"])).model_fields:
        return True
    if len(path) > 1 and first in strategy and strategy[first] is None:
        return True  # ``pp: null``
    if path[:2] != _SCHEDULE or len(path) == 2 or path[2] == "kind":
        return False
    kind = schedule_of(strategy)
    return kind in SCHEDULES.names() and path[2] not in SCHEDULES.get(kind).model_fields


def schedule_of(strategy: Mapping[str, Any]) -> str:
    """Return the name of a strategy's schedule; nothing where it has no pipeline."""
    named = present(strategy, _SCHEDULE)
    if isinstance(named, Mapping):
        return str(named.get("kind", ""))
    usual = Pipeline.model_fields["schedule"].default if strategy.get("pp") else ""
    return str(named or usual)


def named_with_schedule(strategy: Mapping[str, Any]) -> str:
    """Return the name of a strategy, and of its schedule where it has one."""
    schedule = schedule_of(strategy)
    return f"{strategy['kind']} with {schedule}" if schedule else str(strategy["kind"])


def owners(option: str) -> list[str]:
    """Return the names of the strategies, or the schedules, that have an option."""
    first, *inner = option.split(".")
    if inner[:1] == ["schedule"] and len(inner) > 1:
        return [n for n in SCHEDULES.names() if inner[1] in SCHEDULES.get(n).model_fields]
    return [n for n in STRATEGIES.names() if first in STRATEGIES.get(n).model_fields]


def stages_of(strategy: Mapping[str, Any]) -> Any:
    """Return the stages of a strategy's pipeline; 1 where there is none."""
    stages = present(strategy, ("pp", "stages"))
    return 1 if stages is None else stages


def with_options(strategy: Mapping[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """Return a strategy with options set, the outer ones first, without those that it lacks.

    What is wrong with them is for the scenario's own checks to say.
    """
    found = dict(strategy)
    for option in sorted(given, key=lambda key: key.count(".")):
        if not lacks(found, option):
            found, _ = apply(found, [Override(option, path_of(option), given[option])])
    return found
