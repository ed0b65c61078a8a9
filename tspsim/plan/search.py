"""Finds the best candidates: the best bounds are simulated first, until no other could be best."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.files.errors import UserError
from tspsim.plan import objectives
from tspsim.plan.found import Found, key_of
from tspsim.plan.misses import Miss, misses_of
from tspsim.plan.objectives import Key, Objective
from tspsim.plan.question import Candidate, Question
from tspsim.plan.space import Space, enumerate_space
from tspsim.plan.work import Bound, Worker, Workers

#: Candidates simulated before the best ones are looked at again: whatever the number of processes,
#: so that the same candidates are simulated everywhere.
WAVE = 4
#: Candidates whose rough bounds are made better at a time, likewise.
REFINED = 16
#: The share of a plan's progress that bounds are.
_BOUNDS = 0.4

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True, eq=False)
class Ranked:
    """A candidate that was simulated and fits.

    Parameters
    ----------
    candidate : Candidate
    figures : dict
        Of its run, as in ``tspsim run --json``.
    bound : Bound
        What was known before.
    """

    candidate: Candidate
    figures: dict[str, Any]
    bound: Bound


@dataclass(frozen=True, slots=True, eq=False)
class Counts:
    """What became of the candidates: they add up to `candidates`.

    Parameters
    ----------
    candidates : int
    unfit : int
        Cannot fit, by their bound.
    beaten : int
        Cannot be among the best, by their bound.
    simulated : int
    """

    candidates: int
    unfit: int
    beaten: int
    simulated: int


@dataclass(frozen=True, slots=True, eq=False)
class Answer:
    """The best candidates of a question.

    Parameters
    ----------
    question : Question
    objective : str
    best : tuple of Ranked
        Best first.
    misses : tuple of Miss
        The strategies that are not among them.
    counts : Counts
    """

    question: Question
    objective: str
    best: tuple[Ranked, ...]
    misses: tuple[Miss, ...]
    counts: Counts

    def dollars(self, ranked: Ranked) -> float | None:
        """Return dollars per million tokens; None where a device states no price."""
        hourly = objectives.dollars_per_hour(self.question)
        if hourly is None:
            return None
        return objectives.cost(hourly, ranked.figures["step_time"], self.question.tokens)


def plan(
    question: Question,
    name: str = "throughput",
    top: int = 10,
    jobs: int | None = None,
    progress: Progress = lambda fraction: None,  # noqa: ARG005
) -> Answer:
    """Find the best ways of running a step.

    Parameters
    ----------
    question : Question
    name : {"throughput", "memory", "latency", "cost"}
        The objective.
    top : int
        How many of the best.
    jobs : int, optional
        Processes. Not given: this process does it.
    progress : callable, optional
        Told the fraction that is done, as far as it is known.

    Raises
    ------
    UserError
        When there is no such objective, a device states no price for ``"cost"``, or nothing
        divides.
    """
    wanted = objectives.objective(name)
    if name == "cost":
        objectives.check_price(question)
    if not wanted.accumulate:
        question = dataclasses.replace(question, accumulate=False)
    space = enumerate_space(question)
    if not space.candidates:
        raise UserError(_nothing_divides(question, space))
    workers = Workers(question, jobs)
    try:
        found = Found(space, bounded(space.candidates, workers, progress))
        search = _Search(question, found, wanted, top, workers)
        search.run(progress)
        search.settle()
    finally:
        workers.close()
    return _answer(question, found, wanted, top)


def bounded(candidates: Sequence[Candidate], workers: Workers, progress: Progress) -> list[Bound]:
    """Return first bounds of candidates, from what each has in common with its kin."""
    groups: dict[Any, list[int]] = {}
    for number, candidate in enumerate(candidates):
        groups.setdefault(candidate.kin, []).append(number)
    asked = [[candidates[number] for number in numbers] for numbers in groups.values()]
    known: dict[int, Bound] = {}
    answers = workers.map(Worker.rough, asked)
    for done, (numbers, answer) in enumerate(zip(groups.values(), answers, strict=True)):
        known.update(zip(numbers, answer, strict=True))
        progress(_BOUNDS * (done + 1) / len(asked))
    return [known[number] for number in range(len(candidates))]


class _Search:
    """Looks at candidates by their bounds until no other can be among the best.

    Parameters
    ----------
    question : Question
    found : Found
        It is filled in.
    wanted : Objective
    top : int
        How many of the best.
    workers : Workers
    """

    def __init__(
        self, question: Question, found: Found, wanted: Objective, top: int, workers: Workers
    ) -> None:
        self._free, self._found, self._wanted = question.free, found, wanted
        self._top, self._workers = top, workers
        self._best: list[tuple[Key, int]] = []
        self._waiting: list[tuple[Key, int]] = []

    def run(self, progress: Progress) -> None:
        """Simulate all that could be among the best; where a rough bound says so, ask for more."""
        for number in range(len(self._found.bounds)):
            self._await(number)
        while True:
            refined, wave = self._next()
            if refined:
                self._refine(refined)
            elif wave:
                self._simulate(wave)
                progress(_BOUNDS + (1 - _BOUNDS) * self._done())
            else:
                return

    def _await(self, number: int) -> None:
        bound = self._found.bounds[number]
        if bound.memory <= self._free:
            heapq.heappush(self._waiting, (self._found.bound_key(number, self._wanted), number))

    @property
    def _worst(self) -> Key | None:
        """The key that a candidate must not exceed to be among the best; None: any will do."""
        return self._best[self._top - 1][0] if len(self._best) >= self._top else None

    def _next(self) -> tuple[list[int], list[int]]:
        """Take those with the best bounds: whose bounds are rough, or else those to simulate."""
        refined: list[int] = []
        wave: list[tuple[Key, int]] = []
        worst = self._worst
        while self._waiting and len(wave) < WAVE and len(refined) < REFINED:
            if worst is not None and self._waiting[0][0] > worst:
                break
            key, number = heapq.heappop(self._waiting)
            if self._found.bounds[number].rough:
                refined.append(number)
            else:
                wave.append((key, number))
        if refined:
            for entry in wave:
                heapq.heappush(self._waiting, entry)
            return refined, []
        return [], [number for _, number in wave]

    def _refine(self, numbers: Sequence[int]) -> None:
        """Ask for the best bounds of some candidates."""
        candidates = self._found.space.candidates
        groups: dict[Candidate, list[int]] = {}
        for number in numbers:
            groups.setdefault(candidates[number].unplaced, []).append(number)
        asked = [[candidates[number] for number in group] for group in groups.values()]
        answers = self._workers.map(Worker.bounds, asked)
        for group, bounds in zip(groups.values(), answers, strict=True):
            for number, bound in zip(group, bounds, strict=True):
                self._found.bounds[number] = bound
                self._await(number)

    def _simulate(self, wave: Sequence[int]) -> None:
        trials = self._workers.map(
            Worker.simulated, [self._found.space.candidates[n] for n in wave]
        )
        for number, trial in zip(wave, trials, strict=True):
            self._found.trials[number] = trial
            key = key_of(trial, self._wanted)
            if key is not None:
                self._best.append((key, number))
        self._best.sort()

    def _done(self) -> float:
        """Return the share that is simulated of what has to be, as far as it is known."""
        worst, done = self._worst, len(self._found.trials)
        left = sum(worst is None or key <= worst for key, _ in self._waiting)
        return done / (done + left)

    def settle(self) -> None:
        """Ask for the bounds of what comes nearest, of every family that is not among the best."""
        best = {self._found.space.candidates[n].family for _, n in self._best[: self._top]}
        for family, numbers in self._found.by_family().items():
            while family not in best:
                nearest = self._found.nearest(numbers, self._free, self._wanted)
                if not self._found.bounds[nearest].rough or nearest in self._found.trials:
                    break
                self._refine([nearest])


def _answer(question: Question, found: Found, wanted: Objective, top: int) -> Answer:
    keys = ((key_of(o, wanted), n) for n, o in found.trials.items())
    ranked = sorted((key, n) for key, n in keys if key is not None)
    best = []
    for _, number in ranked[:top]:
        figures = found.trials[number].figures
        assert figures is not None
        best.append(Ranked(found.space.candidates[number], figures, found.bounds[number]))
    unfit = sum(bound.memory > question.free for bound in found.bounds)
    count, ran = len(found.bounds), len(found.trials)
    counts = Counts(count, unfit, count - unfit - ran, ran)
    misses = misses_of(question, found, wanted, {ranked.candidate.family for ranked in best})
    return Answer(question, wanted.name, tuple(best), misses, counts)


def _nothing_divides(question: Question, space: Space) -> str:
    lines = [f"  {family}: {reason}" for family, reason in space.refused.items()]
    what = (
        f"no mesh of {question.devices} devices divides {question.batch} "
        f"sequence{'s' if question.batch > 1 else ''} of {question.base.workload.sequence} tokens"
    )
    return "\n".join([what, *lines])
