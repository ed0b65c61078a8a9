"""A measured step beside the simulated one: what both did, kind by kind, and what only one did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from tspsim.engine.timeline import Span
from tspsim.files.arguments import checked
from tspsim.files.errors import UserError
from tspsim.files.frames import frame
from tspsim.mesh import Mesh
from tspsim.output.shown import Shown
from tspsim.program.types import PerCoordinate
from tspsim.reports import beside_table
from tspsim.reports.beside_rows import Amount, Row, Times, rows, times
from tspsim.result import Result
from tspsim.runner import result_of
from tspsim.scenario.types import Scenario
from tspsim.traces.events import Activity
from tspsim.traces.steps import Step, measured

if TYPE_CHECKING:
    import pandas as pd

#: What the host does in a simulation: no computation.
HOST = "issued by the host"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Beside(Shown):
    """A measured step and its simulation.

    Parameters
    ----------
    result : Result
    step : Step
        What was measured.
    simulated : tuple of tuple of Activity
        What the same ranks do in the simulation.
    """

    result: Result
    step: Step
    simulated: tuple[tuple[Activity, ...], ...]

    @property
    def rows(self) -> list[Row]:
        """Every kind of computation and collective that one of the two has."""
        return rows([rank.activities for rank in self.step.ranks], self.simulated)

    @property
    def times(self) -> tuple[Times, Times]:
        """Step time, busy times and overlap: measured, and predicted."""
        of_step = [rank.activities for rank in self.step.ranks]
        predicted = times(self.simulated, self.result.timeline.step_time)
        return times(of_step, self.step.seconds), predicted

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return beside_table.to_dict(self)

    @checked
    def save(self, path: str | Path) -> None:
        """Draw both on one time axis; the suffix says the format."""
        from tspsim.reports import beside_plot

        beside_plot.draw(self, path)

    def frame(self) -> pd.DataFrame:
        """Return the kinds as a table, one row each; what a side has none of is missing.

        Columns are `kind`, whether it is `communication`, and of both sides (``measured_``,
        ``predicted_``) the mean `calls`, `seconds`, `waiting` (seconds) and `bytes` of a rank.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        figures = Amount._fields[:4]
        columns = (f"{side}_{name}" for side in ("measured", "predicted") for name in figures)
        empty = (None,) * len(figures)
        table = (
            (row.kind, row.communication, *((row.measured or empty)[:4]),
             *((row.predicted or empty)[:4]))
            for row in self.rows
        )  # fmt: skip
        return frame(table, ("kind", "communication", *columns))

    def _table(self) -> RenderableType:
        return beside_table.render(self)


@checked
def compare_trace(
    source: str | Path | Mapping[str, Any] | Scenario | Result,
    traces: str | Path | Sequence[str | Path],
    *overrides: str,
) -> Beside:
    """Lay the traces of a run beside its simulation.

    Parameters
    ----------
    source : str, Path, Mapping, Scenario or Run
        As for `tspsim.run`; a folder that ``run -o`` wrote; or what `tspsim.run` returned.
    traces : str, Path or sequence of these
        What ``torch.profiler`` exported, one file a rank, or folders of such files.
    *overrides : str
        Changes such as ``"topology.file=mine.yaml"``.

    Raises
    ------
    UserError
        When the traces are of no run, of several, or of other ranks than the simulation.
    """
    places = [traces] if isinstance(traces, str | Path) else list(traces)
    step = measured(places)
    result = result_of(source, overrides)
    _check_ranks(step, result.timeline.mesh)
    simulated = tuple(tuple(activities_of(result, rank.rank)) for rank in step.ranks)
    return Beside(result, step, simulated)


def _check_ranks(step: Step, mesh: Mesh) -> None:
    """Raise unless the traces can be of the simulated ranks."""
    if step.world is not None and step.world != mesh.ranks:
        told = f"distributedInfo: is of a run of {step.world} ranks; the scenario has {mesh.ranks}"
        raise UserError(f"{step.names[0]}: {told}: name the scenario of this run")
    for name, rank in zip(step.names, step.ranks, strict=True):
        if rank.rank >= mesh.ranks:
            told = f"is of rank {rank.rank}; the scenario has ranks 0 to {mesh.ranks - 1}"
            raise UserError(f"{name}: {told}: name the scenario of this run")


def activities_of(result: Result, rank: int) -> list[Activity]:
    """Return what a rank does in a simulation, in the words of a trace."""
    timeline = result.timeline
    spans = (s for s in timeline.spans(rank) if s.end > s.start or s.op.message is not None)
    return [_activity(span, timeline.mesh) for span in spans]


def _activity(span: Span, mesh: Mesh) -> Activity:
    op = span.op
    if op.message is not None:
        message = op.message.of_rank(mesh, span.rank)
        return Activity(
            message.collective, op.name, span.start, span.end, span.start, message.bytes, True
        )
    if op.work is None or op.kind.name == "issue":
        return Activity(HOST, op.name, span.start, span.end, span.start)
    work = op.work.works[0] if isinstance(op.work, PerCoordinate) else op.work
    return Activity(work.curve, op.name, span.start, span.end, span.start)
