"""``tspsim.plan``: the best ways of running a step, or of serving within limits."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from tspsim.commands.shown import Source, opened
from tspsim.files.arguments import checked
from tspsim.files.bounds import check_whole
from tspsim.files.errors import UserError
from tspsim.files.frames import frame
from tspsim.output.shown import Shown
from tspsim.plan import asking, inference_asking, search
from tspsim.plan.inference import Asked, Served, plan_inference
from tspsim.plan.objectives import objective as wanted
from tspsim.plan.search import Answer
from tspsim.reports import inference_plan, plan_table
from tspsim.scenario.loader import from_document
from tspsim.scenario.types import Scenario
from tspsim.sweeps import columns

if TYPE_CHECKING:
    import pandas as pd

#: Columns of a frame of a plan of inference.
SERVED = (
    "strategy", "mesh", "batch", "tokens", "time_to_first_token", "time_per_token",
    "tokens_per_second", "peak", "fits", "within_limits",
)  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan(Shown, Answer):
    """The best ways of running a step, best first in ``best``, and the nearest misses."""

    @checked
    def scenario(self, place: int = 0) -> Scenario:
        """Return one of the best as a scenario, for `tspsim.run`.

        Raises
        ------
        UserError
            When there is none at that place, or none at all, because nothing fits.
        """
        if not self.best:
            raise UserError("nothing fits: there is no best to run")
        check_whole("place", place, 0, len(self.best) - 1)
        return self.best[place].candidate.scenario(self.question)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return plan_table.to_dict(self)

    def frame(self) -> pd.DataFrame:
        """Return the best as a table, best first.

        Columns are `strategy`, `batch` (of a replica's micro-batch), `micro_batches`, `recompute`
        and `how` (all that the mesh does not show), `dollars` per million tokens where devices
        state a price, and those of `tspsim.Sweep.frame`, in SI units.

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = [self._row(ranked) for ranked in self.best]
        own = ["strategy", "batch", "micro_batches", "recompute", "how", "dollars"]
        present = {name for row in rows for name in row}
        names = [name for name in columns.order(own, present) if name in present]
        return frame(([row.get(name) for name in names] for row in rows), names)

    def _row(self, ranked: search.Ranked) -> dict[str, Any]:
        chosen = ranked.candidate
        told = {name: getattr(chosen, name) for name in ("batch", "micro_batches", "recompute")}
        told |= {"strategy": chosen.strategy.kind, "how": plan_table.how(chosen)}
        cost = self.dollars(ranked)
        told |= {} if cost is None else {"dollars": cost}
        return told | columns.figures(ranked.figures)

    def _table(self) -> RenderableType:
        return plan_table.render(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class InferencePlan(Shown):
    """What every strategy serves within stated limits, the highest rate first.

    Parameters
    ----------
    asked : Asked
    served : tuple of Served
        Each with its largest batch, its longest context where that was asked for, and all trials.
    hourly : float or None
        Dollars of all devices an hour; None where one states no price.
    """

    asked: Asked
    served: tuple[Served, ...]
    hourly: float | None

    @property
    def best(self) -> tuple[Served, ...]:
        """Those that do what is asked, best first."""
        return tuple(each for each in self.served if each.largest is not None)

    @checked
    def scenario(self, place: int = 0) -> Scenario:
        """Return one of the best with its largest batch as a scenario, for `tspsim.run`.

        Raises
        ------
        UserError
            When there is none at that place, or none at all: no strategy does what is asked.
        """
        if not self.best:
            raise UserError("no strategy does what is asked: there is no best to run")
        check_whole("place", place, 0, len(self.best) - 1)
        chosen, document = self.best[place], self.asked.document
        assert chosen.largest is not None
        batch = chosen.largest.batch // chosen.strategy.dp
        workload = {**document["workload"], "batch": batch}
        strategy = chosen.strategy.model_dump(mode="json")
        return from_document({**document, "workload": workload, "strategy": strategy})

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return inference_plan.to_dict(self.asked, self.served, self.hourly)

    def frame(self) -> pd.DataFrame:
        """Return every batch that was simulated as a table, a strategy after the other.

        Columns are `strategy` and `mesh`, `batch` (sequences of all replicas) and `tokens` (of a
        sequence), `time_to_first_token` and `time_per_token` in seconds, `tokens_per_second` of all
        devices, the `peak` of memory in bytes, whether it `fits`, and whether all that is asked
        holds (`within_limits`).

        Raises
        ------
        UserError
            When pandas is not installed.
        """
        rows = (
            (way.strategy.kind, inference_plan.mesh_name(way), t.batch, t.tokens, t.first_token,
             t.per_token, t.rate, t.peak, t.fits, t.does)
            for way in self.served for t in way.trials
        )  # fmt: skip
        return frame(rows, SERVED)

    def _table(self) -> RenderableType:
        return inference_plan.render(self.asked, self.served, self.hourly)


@checked
def plan(
    source: Source | None = None,
    *changes: str,
    model: str | None = None,
    topology: str | None = None,
    sequence: int | None = None,
    batch: int | None = None,
    phase: str | None = None,
    objective: str = "throughput",
    top: int = 10,
    jobs: int | None = None,
    per_token: str | None = None,
    first_token: str | None = None,
    longest: bool = False,
) -> Plan | InferencePlan:
    """Find the best mesh, placement, recomputation and micro-batch for a model and a fabric.

    Parameters
    ----------
    source : str, Path, Mapping or Scenario, optional
        A scenario whose strategy is to be found. Without it `model`, `topology` and `sequence` say
        what is asked.
    *changes : str
        Changes; what one states of the strategy is not varied: ``"strategy.kind=tsp,tp"``.
    model, topology : str, optional
        Names as ``tspsim list`` has, or files.
    sequence : int, optional
        Tokens of one sequence.
    batch : int, optional
        Sequences of a step, over all replicas.
    phase : {"train", "forward"}, optional
    objective : {"throughput", "memory", "latency", "cost"}
    top : int
        How many of the best.
    jobs : int, optional
        Processes. Not given: this process does it. A script that asks for processes keeps its
        own work behind ``if __name__ == "__main__":``.
    per_token, first_token : str, optional
        Of a phase of inference, limits of times: ``"30 ms"``.
    longest : bool
        Of a phase of inference: find the longest context of every strategy, too.

    Returns
    -------
    Plan or InferencePlan
        The latter of a scenario in a phase of inference: the largest batches within the limits.

    Raises
    ------
    UserError
        With everything that is wrong with the question.
    """
    wanted(objective)  # an unknown name is told before anything is read
    for option, count in (("--batch", batch), ("--top", top), ("--jobs", jobs)):
        check_whole(option, count)
    stated = {"model": model, "topology": topology, "sequence": sequence, "phase": phase}
    asked = asking.made(stated) if source is None else opened(source)
    limits = (per_token, first_token)
    overrides = asking.besides(changes, stated)
    if inference_asking.is_asked(asked.data(overrides)):
        fixed = asking.fixed(changes)
        question = inference_asking.ask(asked, overrides, fixed, limits, longest=longest)
        served = plan_inference(question.asked, question.ways, jobs)
        return InferencePlan(question.asked, tuple(served), question.hourly)
    inference_asking.refuse_limits(limits)
    found = search.plan(asking.question(asked, changes, stated, batch), objective, top, jobs)
    return Plan(*(getattr(found, field.name) for field in fields(found)))
