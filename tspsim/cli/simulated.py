"""What commands that look at one run are given: a scenario, or a folder that ``run -o`` wrote."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tspsim.cli.progress import progress
from tspsim.files.errors import UserError

if TYPE_CHECKING:
    from tspsim.runner import Run


def refuse_changes(source: str, overrides: Sequence[str] | None) -> None:
    """Raise where something of a folder that holds a sweep is to be changed."""
    if overrides:
        raise UserError(f"{source}: holds a sweep, of which nothing is changed: {overrides[0]}")


def simulated(source: str | Path, overrides: Sequence[str] = ()) -> Run:
    """Simulate a scenario, or that of the result in a folder, and show how far it is.

    Raises
    ------
    OutputError
        When a folder holds no result.
    ScenarioError
        With all mistakes of the scenario.
    """
    from tspsim.output import folder
    from tspsim.runner import simulate_scenario
    from tspsim.scenario import load

    scenario = load(folder.source_of(source), overrides)
    with progress("simulating") as advance:
        return simulate_scenario(scenario, advance)
