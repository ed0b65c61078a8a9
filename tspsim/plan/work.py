"""What a worker does for a plan: it bounds candidates from their sketches, and simulates some."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cached_property
from itertools import groupby
from multiprocessing import get_context
from typing import Any

from tspsim.collectives.choose import Chooser
from tspsim.files.errors import TspsimError, UserError
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.plan.least_memory import least_memory
from tspsim.plan.least_time import least_time
from tspsim.plan.question import Candidate, Question
from tspsim.plan.sketch import Sketch, ended, passes
from tspsim.plan.staged import Staged
from tspsim.registry import Modules, registered
from tspsim.runner import simulate_scenario
from tspsim.strategies.base import StrategyOptions
from tspsim.sweeps.crew import begin_worker

#: Of the garbage collector: a run makes a million values and hardly a cycle among them.
_THRESHOLDS = (50_000, 20, 100)

#: A bound is a sum of many floats: it holds up to their rounding.
_ROUNDING = 1 - 1e-9


@dataclass(frozen=True, slots=True)
class Bound:
    """What a candidate cannot do better than.

    Parameters
    ----------
    memory : float
        Bytes of the peak, at least, without what the runtime reserves.
    seconds : float
        Step time, at least; 0 where the memory does not fit, and nobody asks.
    rough : bool
        A sketch of the candidate's own would tell more.
    """

    memory: float
    seconds: float
    rough: bool = False


Group = Sequence[Candidate]
#: What a program is recorded from.
Recorded = tuple[StrategyOptions, ModelShape, Workload, Optimizer]


def _least(of_kinds: list[list[Bound]]) -> list[Bound]:
    """Return the least bounds of every candidate."""
    return [
        Bound(min(b.memory for b in bounds), min(b.seconds for b in bounds), bounds[0].rough)
        for bounds in zip(*of_kinds, strict=True)
    ]


class Worker:
    """Does the work of one question: this process itself, or each of several.

    It remembers how collectives travel: the candidates of a question ask for the same ones.

    Parameters
    ----------
    question : Question
    """

    def __init__(self, question: Question) -> None:
        self.question = question

    @cached_property
    def _chooser(self) -> Chooser:
        return Chooser(self.question.base.topology, self.question.base.algorithm)

    @cached_property
    def _staged(self) -> Staged:
        return Staged(self.question, self._chooser)

    @cached_property
    def _kinds(self) -> list[Worker]:
        """Workers of models with layers of one kind each; itself where all are of one."""
        question = self.question
        if question.uniform:
            return [self]
        return [Worker(question.alike(kind)) for kind in question.base.model.kinds]

    def rough(self, group: Group) -> list[Bound]:
        """Return first bounds of candidates of one kin: they rest on few recordings.

        Of a model with layers of several kinds they are the least that one has whose layers are all
        of one kind: what a layer takes and holds adds up, and the most that one needs is no less.
        """
        return _least([worker._rough_alike(group) for worker in self._kinds])

    def bounds(self, group: Group) -> list[Bound]:
        """Return the best bounds that there are of candidates, those that are alike in a row."""
        return _least([worker._bounds_alike(group) for worker in self._kinds])

    def _rough_alike(self, group: Group) -> list[Bound]:
        """Return first bounds where all layers are of one kind.

        Of a pipeline there are no better ones.
        """
        first = group[0]
        if _plays_roles(first.strategy) or not self._staged.knows(first):
            return self._bounds_alike(group)
        return [self._rough(candidate) for candidate in group]

    def _rough(self, candidate: Candidate) -> Bound:
        memory, rough = self._staged.memory(candidate), candidate.strategy.pp is None
        fits = memory <= self.question.free
        seconds = self._staged.seconds(candidate) * _ROUNDING if fits else 0.0
        return Bound(memory, seconds, rough)

    def _bounds_alike(self, group: Group) -> list[Bound]:
        """Return the best bounds where all layers are of one kind."""
        found = []
        for unplaced, placed in groupby(group, key=lambda candidate: candidate.unplaced):
            alike = list(placed)
            if unplaced.strategy.pp is not None:
                found += [self._rough(candidate) for candidate in alike]
                continue
            made, memory = _sketched(self.question, unplaced)
            seconds = [0.0 for _ in alike]
            if memory <= self.question.free:
                whole = ended(made, *_recorded(self.question, unplaced))
                seconds = [self._seconds(whole, each) for each in alike]
            found += [Bound(memory, each) for each in seconds]
        return found

    def _seconds(self, made: Sketch, candidate: Candidate) -> float:
        return least_time(made, candidate.scenario(self.question), self._chooser) * _ROUNDING

    def simulated(self, candidate: Candidate) -> Trial:
        """Return what came of simulating one candidate."""
        return simulated(self.question, candidate)


def _plays_roles(strategy: StrategyOptions) -> bool:
    """Whether ranks do several things without being stages of a pipeline."""
    mesh = strategy.mesh()
    return strategy.pp is None and any(strategy.role(mesh, rank) for rank in range(mesh.ranks))


def _recorded(question: Question, candidate: Candidate) -> Recorded:
    base = question.base
    return candidate.strategy, base.model, candidate.workload(question), base.optimizer


def _sketched(question: Question, candidate: Candidate) -> tuple[Sketch, float]:
    """Return a candidate's sketch without its end, and the bytes of its peak, at least."""
    made = passes(*_recorded(question, candidate))
    return made, least_memory(made)


def smallest(question: Question, candidate: Candidate) -> float:
    """Return the bytes of a candidate's peak, at least."""
    if candidate.strategy.pp is not None:
        base = question.base
        return Staged(question, Chooser(base.topology, base.algorithm)).memory(candidate)
    return _sketched(question, candidate.unplaced)[1]


@dataclass(frozen=True, slots=True)
class Trial:
    """What came of simulating a candidate: its figures as in ``--json``, or why there are none."""

    figures: dict[str, Any] | None
    reason: str = ""


def simulated(question: Question, candidate: Candidate) -> Trial:
    """Simulate one candidate, all layers and micro-batches of it."""
    try:
        result = simulate_scenario(candidate.scenario(question))
    except TspsimError as error:
        return Trial(None, str(error))
    return Trial(result.summary.to_dict())


#: ``task(worker, item)``: what a worker does, a function of a module or of `Worker`.
Task = Callable[[Worker, Any], Any]

#: The worker of a process that was started for a question.
_WORKER: ContextVar[Worker] = ContextVar("worker")


def _begin(question: Question, modules: Modules) -> None:
    begin_worker(modules)
    gc.set_threshold(*_THRESHOLDS)
    _WORKER.set(Worker(question))


def _do(task: Task, item: Any) -> Any:
    return task(_WORKER.get(), item)


class Workers:
    """Processes that know a question, or this process alone.

    Parameters
    ----------
    question : Question
    jobs : int or None
        How many processes; None: this one does it.
    """

    def __init__(self, question: Question, jobs: int | None) -> None:
        self._alone = Worker(question)
        # Not forked: a fork would share locks and threads of whoever imports tspsim.
        self._pool = (
            ProcessPoolExecutor(jobs, get_context("spawn"), _begin, (question, registered()))
            if jobs is not None
            else None
        )

    def map(self, task: Task, items: Sequence[Any]) -> Iterator[Any]:
        """Yield what a task makes of every item, in their order.

        Raises
        ------
        UserError
            When a process dies, mostly for lack of memory.
        """
        if self._pool is None:
            yield from (task(self._alone, item) for item in items)
            return
        futures = [self._pool.submit(_do, task, item) for item in items]
        try:
            for future in futures:
                yield future.result()
        except BrokenExecutor:
            raise UserError(
                "a process that simulated a candidate died; with --jobs 1 each has all the memory"
            ) from None

    def close(self) -> None:
        """End the processes; what they are running is lost."""
        if self._pool is None:
            return
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()
