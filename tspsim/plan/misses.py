"""Why a strategy is not among the best: how near it comes to them, or to fitting at all."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tspsim.plan.found import Found, key_of
from tspsim.plan.objectives import Objective
from tspsim.plan.question import Candidate, Question


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


def misses_of(
    question: Question, found: Found, wanted: Objective, there: Collection[str]
) -> tuple[Miss, ...]:
    """Return why all strategies are missing that are not there."""
    misses = [_miss(question, found, wanted, numbers)
              for name, numbers in found.by_family().items() if name not in there]  # fmt: skip
    refused = [Miss(name, reason=reason) for name, reason in found.space.refused.items()]
    return (*misses, *refused)


def _miss(question: Question, found: Found, wanted: Objective, numbers: Sequence[int]) -> Miss:
    """Return how near a strategy comes."""
    number = found.nearest(numbers, question.free, wanted)
    candidate, trial, bound = (
        found.space.candidates[number], found.trials.get(number), found.bounds[number]
    )  # fmt: skip
    family = candidate.family
    if trial is not None and trial.figures is not None and key_of(trial, wanted) is not None:
        step, peak = trial.figures["step_time"], trial.figures["memory"]["peak"]
        return Miss(family, candidate, seconds=step, peak=peak, simulated=True)
    if trial is None and bound.memory <= question.free:
        reserved = min(device.reserved for device in question.base.topology.devices)
        return Miss(family, candidate, seconds=bound.seconds, peak=bound.memory + reserved)
    return Miss(family, candidate, over=found.over(number, question.free), proven=trial is None)
