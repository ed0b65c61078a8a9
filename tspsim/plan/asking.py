"""From words to the question of a plan: a scenario or what makes one, and changes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tspsim.files.errors import ScenarioError, UserError
from tspsim.plan.question import Question, ask
from tspsim.scenario import files
from tspsim.scenario.loader import Opened
from tspsim.scenario.overrides import Override, parse_overrides

#: Keys of the workload that a plan varies: a stated one is not varied.
_OPEN = ("batch", "micro_batches", "recompute")

#: What is said apart from the scenario: ``model``, ``topology``, ``sequence``, ``phase``, or None.
Stated = Mapping[str, Any]


def question(opened: Opened, changes: Sequence[str], stated: Stated, batch: int | None) -> Question:
    """Return what is asked.

    Parameters
    ----------
    opened : Opened
        The scenario; its strategy is open.
    changes : sequence of str
        ``"key=value"``: what one states of the strategy is not varied.
    stated : Mapping
    batch : int or None
        Sequences of a step, over all replicas.

    Raises
    ------
    UserError
        With everything that is wrong.
    """
    recompute: Any = "any"
    for override in parse_overrides(changes):
        section, key = override.path[0], override.path[-1]
        if section == "workload" and key in _OPEN:
            _refuse(str(key), override.text)
            recompute = override.value
    rest = besides(changes, stated)
    data = opened.data(rest)
    try:
        return ask(data, fixed(changes), batch, recompute)
    except ScenarioError as error:
        raise _placed(opened, rest, error) from None


def made(stated: Stated) -> Opened:
    """Return the scenario that is made of a model, a topology and a sequence alone.

    Raises
    ------
    UserError
        When one of them is missing.
    """
    missing = [f"--{name}" for name in ("model", "topology", "sequence") if not stated[name]]
    if missing:
        raise UserError(
            f"no scenario, and no {', '.join(missing)}: name a scenario, or say "
            "--model, --topology and --sequence"
        )
    name = f"{Path(stated['model']).stem}"
    return Opened.document({"name": name, "model": {}, "workload": {}, "topology": {}})


def besides(changes: Sequence[str], stated: Stated) -> list[str]:
    """Return all overrides but those of the strategy.

    Raises
    ------
    UserError
        When a file that is stated is nowhere, or a change is none.
    """
    others = (each.text for each in parse_overrides(changes) if each.path[0] != "strategy")
    return [*_overrides(stated), *others]


def fixed(changes: Sequence[str]) -> dict[str, Any]:
    """Return what the changes state of the strategy."""
    found: dict[str, Any] = {}
    for override in parse_overrides(changes):
        if override.path[0] == "strategy":
            _add(found, _stated(override))
    return found


def _add(found: dict[str, Any], more: Mapping[str, Any]) -> None:
    """Add what an override states; of a pipeline, one option after another."""
    for name, value in more.items():
        before = found.get(name)
        if isinstance(before, dict) and isinstance(value, dict):
            value = {**before, **value}
        found[name] = value


def _stated(override: Override) -> dict[str, Any]:
    """Return what an override says of the strategy: of its kind, of one option, or of several."""
    if len(override.path) == 2:
        return {str(override.path[1]): override.value}
    if len(override.path) > 2:
        return {str(override.path[1]): {str(override.path[2]): override.value}}
    if isinstance(override.value, str):
        return {"kind": override.value}
    if not isinstance(override.value, dict):
        raise UserError(f"{override.place}: must name strategies, or be options: {{kind: tsp}}")
    return override.value


def _placed(opened: Opened, overrides: Sequence[str], error: ScenarioError) -> ScenarioError:
    """Return an error with the places that files have, which the keys alone do not know."""
    try:
        opened.scenario([*overrides, "strategy={kind: tp, degree: 1}"])
    except ScenarioError as found:
        lines = [line for line in found.lines if "strategy" not in line]
        return ScenarioError(lines) if lines else error
    return error


def _refuse(key: str, text: str) -> None:
    if key != "recompute":
        raise UserError(
            f"override '{text}': a plan divides a step into micro-batches itself; "
            "--batch says how many sequences the step has"
        )


def _overrides(stated: Stated) -> list[str]:
    """Return what is stated as overrides; files that it names are looked up first."""
    found = []
    for name, folder, key in (("model", "models", "hf"), ("topology", "topologies", "file")):
        value = stated[name]
        if value is None:
            continue
        if files.find(value, folder) is None:  # type: ignore[arg-type]
            told = files.not_found(value, folder)  # type: ignore[arg-type]
            raise UserError(f"--{name}: {told}")
        found.append(f"{name}={{{key}: {json.dumps(value)}}}")
    keys = [name for name in ("sequence", "phase") if stated[name] is not None]
    return [*found, *(f"workload.{name}={stated[name]}" for name in keys)]
