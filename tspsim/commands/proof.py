"""``tspsim.check``: whether a schedule computes what the dense model does."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from tspsim import values
from tspsim.commands.shown import Source, loaded
from tspsim.files.arguments import checked
from tspsim.files.frames import frame
from tspsim.output.shown import Shown
from tspsim.reports import proof_table
from tspsim.result import Result
from tspsim.runner import checked_programs
from tspsim.scenario.types import Scenario

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Proof(Shown, values.Proof):
    """All comparisons of one schedule with the dense model; ``passed`` says whether all agree."""

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return proof_table.to_dict(self)

    def frame(self) -> pd.DataFrame:
        """Return the comparisons as a table: `tensor`, relative `error`, `ranks`, `passed`.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = ((each.tensor, each.error, each.ranks, each.passed) for each in self.comparisons)
        return frame(rows, ("tensor", "error", "ranks", "passed"))

    def _table(self) -> RenderableType:
        return proof_table.render(self)


@checked
def check(source: Source | Result, *changes: str) -> Proof:
    """Prove a schedule: play it with NumPy values, at a small size, against the dense model.

    Parameters
    ----------
    source : str, Path, Mapping, Scenario or Run
        As for `tspsim.run`.
    *changes : str
        Such as ``"strategy.degree=4"``.

    Raises
    ------
    ScenarioError
        With everything that is wrong with the scenario.
    ScheduleError
        When the strategy's collectives do not meet.
    """
    return prove(loaded(source, changes))


def prove(scenario: Scenario) -> Proof:
    """Play a scenario's schedule at a small size of the same family, after the static dry run.

    Raises
    ------
    ScheduleError
        When its collectives do not meet.
    """
    checked_programs(scenario.strategy, scenario.model, scenario.workload, scenario.optimizer)
    found = values.check(scenario)
    return Proof(*(getattr(found, field.name) for field in fields(found)))
