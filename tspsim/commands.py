"""The commands as functions: ``tspsim.compare``, ``tspsim.explain`` and ``tspsim.plan``.

What they answer prints itself as the command does; ``tspsim.run`` and ``tspsim.sweep`` have homes
of their own, in `tspsim.runner` and `tspsim.sweeps.run`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from html import escape
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from tspsim.explain.explanation import Explanation
from tspsim.explain.explanation import explain as explained
from tspsim.files.errors import UserError
from tspsim.output import folder
from tspsim.output.plain import plain
from tspsim.plan import asking, search
from tspsim.plan.objectives import objective as wanted
from tspsim.plan.search import Answer
from tspsim.reports import comparison, explanation, plan_table
from tspsim.reports.beside import Beside as Beside
from tspsim.reports.beside import compare_trace as compare_trace
from tspsim.result import Result
from tspsim.runner import run
from tspsim.scenario.loader import Opened
from tspsim.scenario.types import Scenario
from tspsim.sweeps.candidates import Candidate, candidates, winner
from tspsim.sweeps.study import is_axis, parse_axis

#: A scenario's file or its name among the shipped ones, its keys, or one that is loaded.
Source = str | Path | Mapping[str, Any] | Scenario


class _Shown:
    """Prints itself as the command prints it, and shows the same in a notebook."""

    def _table(self) -> RenderableType:
        raise NotImplementedError

    def __repr__(self) -> str:
        return plain(self._table())

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Comparison(_Shown):
    """Candidates side by side.

    Parameters
    ----------
    candidates : tuple of Candidate
        In the order asked for; each has a ``result``, or the ``reason`` why there is none.
    """

    candidates: tuple[Candidate, ...]

    @property
    def winner(self) -> Candidate | None:
        """The fastest that fits; None where nothing does."""
        return winner(self.candidates)

    @property
    def why(self) -> str:
        """Why it wins, in a sentence."""
        return comparison.why(self.candidates)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``, less the differences of two."""
        return comparison.to_dict(self.candidates)

    def _table(self) -> RenderableType:
        return comparison.render(self.candidates)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Explained(_Shown, Explanation):
    """An explanation that prints itself."""

    def _table(self) -> RenderableType:
        return explanation.render(self)


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Plan(_Shown, Answer):
    """The best ways of running a step, best first in ``best``, and the nearest misses."""

    def scenario(self, place: int = 0) -> Scenario:
        """Return one of the best as a scenario, for `tspsim.run`.

        Raises
        ------
        UserError
            When there is none, because nothing fits.
        """
        if not self.best:
            raise UserError("nothing fits: there is no best to run")
        return self.best[place].candidate.scenario(self.question)

    def to_dict(self) -> dict[str, Any]:
        """Return the object of ``--json``."""
        return plan_table.to_dict(self)

    def _table(self) -> RenderableType:
        return plan_table.render(self)


def compare(*sources: Source | Result) -> Comparison:
    """Run candidates and say which is the fastest that fits, and why.

    Parameters
    ----------
    *sources : str, Path, Mapping, Scenario or Run
        Scenarios, folders of results, results, and what varies: ``"strategy=tsp,tp,sp,tp_sp"``.

    Raises
    ------
    UserError
        When there are fewer than two candidates, or too many.
    """
    axes = [text for text in sources if isinstance(text, str) and is_axis(text)]
    named = [_named(each) for each in sources if each not in axes]
    if not named:
        raise UserError("no scenario: name a file, a folder of a result, or a shipped scenario")
    return Comparison(tuple(candidates(named, [parse_axis(text) for text in axes])))


def explain(source: Source | Result, *overrides: str, what_if: bool = True) -> Explained:
    """Say why a step takes as long as it does, what fills the memory, and what would change that.

    Parameters
    ----------
    source : str, Path, Mapping, Scenario or Run
        As for `tspsim.run`; a folder that ``run -o`` wrote; or what `tspsim.run` returned.
    *overrides : str
        Changes such as ``"strategy.degree=4"``.
    what_if : bool
        Also simulate what other hardware and other settings would give.
    """
    if isinstance(source, Result):
        result = run(source.scenario, *overrides) if overrides else source
    else:
        place = folder.source_of(source) if isinstance(source, str | Path) else source
        result = run(place, *overrides)
    found = explained(result, what_if=what_if)
    return Explained(*(getattr(found, field.name) for field in fields(found)))


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
) -> Plan:
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

    Raises
    ------
    UserError
        With everything that is wrong with the question.
    """
    wanted(objective)  # an unknown name is told before anything is read
    stated = {"model": model, "topology": topology, "sequence": sequence, "phase": phase}
    opened = asking.made(stated) if source is None else _opened(source)
    question = asking.question(opened, changes, stated, batch)
    found = search.plan(question, objective, top, jobs)
    return Plan(*(getattr(found, field.name) for field in fields(found)))


def _opened(source: Source) -> Opened:
    named = _named(source)
    return Opened.document(named) if isinstance(named, Mapping) else Opened.file(named)


def _named(source: Source | Result) -> str | Mapping[str, Any]:
    """Return a scenario's name, or its keys."""
    if isinstance(source, Result):
        return source.scenario.document
    if isinstance(source, Scenario):
        return source.document
    return str(source) if isinstance(source, Path) else source
