"""What a search knows of every candidate: bounds, and what came of those that were simulated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tspsim.plan.objectives import Key, Objective
from tspsim.plan.space import Space
from tspsim.plan.work import Bound, Trial


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """What is known of every candidate, by its number."""

    space: Space
    bounds: list[Bound]
    trials: dict[int, Trial] = field(default_factory=dict)

    def by_family(self) -> dict[str, list[int]]:
        """Return the numbers of the candidates of every strategy."""
        found: dict[str, list[int]] = {}
        for number, candidate in enumerate(self.space.candidates):
            found.setdefault(candidate.family, []).append(number)
        return found

    def bound_key(self, number: int, wanted: Objective) -> Key:
        """Return what the key of a candidate cannot be below."""
        bound = self.bounds[number]
        return wanted.key(bound.seconds, bound.memory)

    def nearest(self, numbers: Sequence[int], free: float, wanted: Objective) -> int:
        """Return which of some candidates comes nearest to the best, or else to fitting."""
        ran = {n: self.trials[n] for n in numbers if n in self.trials}
        keys = ((key_of(trial, wanted), n) for n, trial in ran.items())
        if fitting := [(key, n) for key, n in keys if key is not None]:
            return min(fitting)[1]
        if beaten := [n for n in numbers if n not in ran and self.bounds[n].memory <= free]:
            return min(beaten, key=lambda n: (self.bound_key(n, wanted), n))
        return min(numbers, key=lambda n: (self.over(n, free), n))

    def over(self, number: int, free: float) -> float:
        """Return the bytes that a candidate needs more than there are: at least, or as it ran."""
        trial = self.trials.get(number)
        if trial is None or trial.figures is None:
            return self.bounds[number].memory - free
        memory = trial.figures["memory"]
        return float(memory["peak"] - memory["capacity"])


def key_of(trial: Trial, wanted: Objective) -> Key | None:
    """Return the key of a run; None where it does not fit or did not come to an end."""
    figures = trial.figures
    if figures is None or not figures["memory"]["fits"]:
        return None
    peak = figures["memory"]["peak"] - _reserved(figures)
    return wanted.key(figures["step_time"], peak)


def _reserved(figures: dict[str, Any]) -> float:
    return float(figures["memory"]["at_peak"]["reserved"])
