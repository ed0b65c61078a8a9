"""What a worker does for a plan: it bounds candidates from their sketches, and simulates some."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from tspsim.collectives.choose import Chooser
from tspsim.files.errors import TspsimError, UserError
from tspsim.plan.least_memory import least_memory
from tspsim.plan.least_time import least_time
from tspsim.plan.question import Candidate, Question
from tspsim.plan.sketch import Sketch, sketch
from tspsim.registry import Modules, registered
from tspsim.runner import simulate_scenario
from tspsim.sweeps.crew import begin_worker
from tspsim.topology.graph import Topology

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
    """

    memory: float
    seconds: float


Group = Sequence[Candidate]


def bounds(question: Question, group: Group) -> list[Bound]:
    """Return the bounds of candidates that differ in micro-batches and placement alone.

    Where one micro-batch does not fit, no larger one does: every buffer grows with it.
    """
    found: dict[Candidate, Bound] = {}
    over: float | None = None
    for candidate in sorted(group, key=lambda c: c.batch):
        if over is not None:
            found[candidate] = Bound(over, 0.0)
            continue
        found[candidate] = _bound(question, candidate, found)
        if found[candidate].memory > question.free:
            over = found[candidate].memory
    return [found[candidate] for candidate in group]


def _bound(question: Question, candidate: Candidate, known: dict[Candidate, Bound]) -> Bound:
    made = _sketched(candidate.unplaced, question)
    memory = next(
        (known[other].memory for other in known if other.unplaced == candidate.unplaced), None
    )
    memory = least_memory(made) if memory is None else memory
    if memory > question.free:
        return Bound(memory, 0.0)
    planner = _planner(question.base.topology, question.base.algorithm)
    seconds = least_time(made, candidate.scenario(question), planner)
    return Bound(memory, seconds * _ROUNDING)


def smallest(question: Question, candidate: Candidate) -> float:
    """Return the bytes of a candidate's peak, at least."""
    return least_memory(_sketched(candidate.unplaced, question))


_sketches: list[tuple[Candidate, Question, Sketch]] = []


def _sketched(candidate: Candidate, question: Question) -> Sketch:
    """Return a candidate's sketch; the last one is kept, for its other placements."""
    for known, asked, made in _sketches:
        if known == candidate and asked is question:
            return made
    base = question.base
    made = sketch(candidate.strategy, base.model, candidate.workload(question), base.optimizer)
    _sketches[:] = [(candidate, question, made)]
    return made


_planners: list[tuple[Topology, str, Chooser]] = []


def _planner(topology: Topology, algorithm: str) -> Chooser:
    """Return the planner of a topology, which remembers every plan; the last one is kept."""
    for known, name, planner in _planners:
        if known is topology and name == algorithm:
            return planner
    made = Chooser(topology, algorithm)
    _planners[:] = [(topology, algorithm, made)]
    return made


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


#: ``task(question, item)``: what a worker does, a function of a module.
Task = Callable[[Question, Any], Any]
_asked: list[Question] = []


def _begin(question: Question, modules: Modules) -> None:
    begin_worker(modules)
    gc.set_threshold(*_THRESHOLDS)
    _asked[:] = [question]


def _do(task: Task, item: Any) -> Any:
    return task(_asked[0], item)


class Workers:
    """Processes that know a question, or this process alone.

    Parameters
    ----------
    question : Question
    jobs : int or None
        How many processes; None: this one does it.
    """

    def __init__(self, question: Question, jobs: int | None) -> None:
        self._question = question
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
            yield from (task(self._question, item) for item in items)
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
