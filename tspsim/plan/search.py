"""Finds the best candidates: the best bounds are simulated first, until no other could be best."""

from __future__ import annotations

import dataclasses
import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tspsim.files.errors import UserError
from tspsim.plan import objectives
from tspsim.plan.objectives import Key, Objective
from tspsim.plan.question import Candidate, Question
from tspsim.plan.space import Space, enumerate_space
from tspsim.plan.work import Bound, Trial, Worker, Workers

#: Candidates simulated before the best ones are looked at again: whatever the number of processes,
#: so that the same candidates are simulated everywhere.
WAVE = 4
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
class Miss:
    """Why a strategy is not among the best.

    Parameters
    ----------
    family : str
    candidate : Candidate or None
        The one that comes nearest.
    over : float
        Bytes that it needs more than a device has; 0: it fits.
    proven : bool
        `over` is a lower bound, not the peak of a run.
    seconds, peak : float
        Where it fits: step time and peak of `candidate`.
    simulated : bool
        They are those of a run; otherwise no candidate of the strategy comes below what the
        objective asks of them.
    reason : str
        Why none of its meshes divides.
    """

    family: str
    candidate: Candidate | None = None
    over: float = 0.0
    proven: bool = True
    seconds: float = 0.0
    peak: float = 0.0
    simulated: bool = False
    reason: str = ""


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


@dataclass(slots=True)
class _Found:
    """What is known of every candidate, by its number."""

    space: Space
    bounds: list[Bound]
    trials: dict[int, Trial] = field(default_factory=dict)


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
        found = _Found(space, bounded(space.candidates, workers, progress))
        _simulate(question, found, wanted, top, workers, progress)
    finally:
        workers.close()
    return _answer(question, found, wanted, top)


def bounded(candidates: Sequence[Candidate], workers: Workers, progress: Progress) -> list[Bound]:
    """Return the bounds of candidates."""
    groups: dict[Any, list[int]] = {}
    for number, candidate in enumerate(candidates):
        groups.setdefault((candidate.alike, candidate.recompute), []).append(number)
    asked = [[candidates[number] for number in numbers] for numbers in groups.values()]
    known: dict[int, Bound] = {}
    answers = workers.map(Worker.bounds, asked)
    for done, (numbers, answer) in enumerate(zip(groups.values(), answers, strict=True)):
        known.update(zip(numbers, answer, strict=True))
        progress(_BOUNDS * (done + 1) / len(asked))
    return [known[number] for number in range(len(candidates))]


def _simulate(
    question: Question,
    found: _Found,
    wanted: Objective,
    top: int,
    workers: Workers,
    progress: Progress,
) -> None:
    """Simulate candidates by their bounds until no other can be among the best."""
    waiting = [
        (wanted.key(bound.seconds, bound.memory), number)
        for number, bound in enumerate(found.bounds)
        if bound.memory <= question.free
    ]
    heapq.heapify(waiting)
    best: list[tuple[Key, int]] = []
    while waiting:
        worst = best[top - 1][0] if len(best) >= top else None
        wave: list[int] = []
        while waiting and len(wave) < WAVE and (worst is None or waiting[0][0] <= worst):
            wave.append(heapq.heappop(waiting)[1])
        if not wave:
            return
        trials = workers.map(Worker.simulated, [found.space.candidates[n] for n in wave])
        for number, trial in zip(wave, trials, strict=True):
            found.trials[number] = trial
            key = _key(trial, wanted)
            if key is not None:
                best.append((key, number))
        best.sort()
        left = sum(len(best) < top or key <= best[top - 1][0] for key, _ in waiting)
        done = len(found.trials)
        progress(_BOUNDS + (1 - _BOUNDS) * done / (done + left))


def _key(trial: Trial, wanted: Objective) -> Key | None:
    """Return the key of a run; None where it does not fit or did not come to an end."""
    figures = trial.figures
    if figures is None or not figures["memory"]["fits"]:
        return None
    peak = figures["memory"]["peak"] - _reserved(figures)
    return wanted.key(figures["step_time"], peak)


def _reserved(figures: dict[str, Any]) -> float:
    return float(figures["memory"]["at_peak"]["reserved"])


def _answer(question: Question, found: _Found, wanted: Objective, top: int) -> Answer:
    keys = ((_key(o, wanted), n) for n, o in found.trials.items())
    ranked = sorted((key, n) for key, n in keys if key is not None)
    best = []
    for _, number in ranked[:top]:
        figures = found.trials[number].figures
        assert figures is not None
        best.append(Ranked(found.space.candidates[number], figures, found.bounds[number]))
    unfit = sum(bound.memory > question.free for bound in found.bounds)
    count, ran = len(found.bounds), len(found.trials)
    counts = Counts(count, unfit, count - unfit - ran, ran)
    misses = _misses(question, found, wanted, best)
    return Answer(question, wanted.name, tuple(best), misses, counts)


def _misses(
    question: Question, found: _Found, wanted: Objective, best: Sequence[Ranked]
) -> tuple[Miss, ...]:
    there = {ranked.candidate.family for ranked in best}
    by_family: dict[str, list[int]] = {}
    for number, candidate in enumerate(found.space.candidates):
        by_family.setdefault(candidate.family, []).append(number)
    misses = [_miss(question, found, wanted, numbers)
              for name, numbers in by_family.items() if name not in there]  # fmt: skip
    refused = [Miss(name, reason=reason) for name, reason in found.space.refused.items()]
    return (*misses, *refused)


def _miss(question: Question, found: _Found, wanted: Objective, numbers: Sequence[int]) -> Miss:
    """Return how near a strategy comes to the best, or to fitting at all."""
    candidates, bounds = found.space.candidates, found.bounds
    family = candidates[numbers[0]].family
    ran = {n: found.trials[n] for n in numbers if n in found.trials}
    keys = ((_key(trial, wanted), n) for n, trial in ran.items())
    fitting = [(key, n) for key, n in keys if key is not None]
    if fitting:
        number = min(fitting)[1]
        figures = ran[number].figures or {}
        step, peak = figures["step_time"], figures["memory"]["peak"]
        return Miss(family, candidates[number], seconds=step, peak=peak, simulated=True)
    beaten = [n for n in numbers if n not in ran and bounds[n].memory <= question.free]
    if beaten:
        number = min(beaten, key=lambda n: (wanted.key(bounds[n].seconds, bounds[n].memory), n))
        reserved = min(device.reserved for device in question.base.topology.devices)
        bound, peak = bounds[number], bounds[number].memory + reserved
        return Miss(family, candidates[number], seconds=bound.seconds, peak=peak)
    over = {n: bounds[n].memory - question.free for n in numbers}
    for n, trial in ran.items():
        if trial.figures is not None:
            memory = trial.figures["memory"]
            over[n] = memory["peak"] - memory["capacity"]
    number = min(over, key=lambda n: (over[n], n))
    return Miss(family, candidates[number], over=over[number], proven=number not in ran)


def _nothing_divides(question: Question, space: Space) -> str:
    lines = [f"  {family}: {reason}" for family, reason in space.refused.items()]
    what = (
        f"no mesh of {question.devices} devices divides {question.batch} "
        f"sequence{'s' if question.batch > 1 else ''} of {question.base.workload.sequence} tokens"
    )
    return "\n".join([what, *lines])
