"""Published steps beside what is predicted of them: errors, bias, order and coverage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import mean, pstdev
from typing import Any, NamedTuple

import numpy as np

from tspsim.calibrate.published.recipes import RECIPES
from tspsim.calibrate.published.steps import Predicted, Step, predict
from tspsim.topology.evidence import Residuals
from tspsim.topology.whole_steps import StepEvidence, interval

#: Fewer rows say too little of how they spread.
FEWEST = 4


@dataclass(frozen=True, slots=True)
class Judged:
    """A step and what is predicted of it."""

    step: Step
    predicted: Predicted

    @property
    def residual(self) -> float:
        """``log(measured / predicted)``: above 0 where it was predicted too fast."""
        return math.log(self.step.seconds / self.predicted.seconds)

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted.seconds / self.step.seconds - 1


class Quality(NamedTuple):
    """How well the steps of one source are predicted.

    Attributes
    ----------
    rows : int
    error, bias : float
        Mean absolute and mean relative error of the times.
    pairs, ordered : int
        Pairs of comparable steps that were measured more than 5 % apart, and those of them that
        are predicted in the measured order.
    inside : int or None
        Rows inside the 80 % interval that the other sources give; None where those give none.
    memory : float or None
        Mean relative error of the peaks.
    memory_error : float or None
        Mean absolute error of these.
    """

    rows: int
    error: float
    bias: float
    pairs: int
    ordered: int
    inside: int | None
    memory: float | None
    memory_error: float | None


def profiles() -> dict[str, str]:
    """Return the shipped profiles by their devices."""
    return {recipe.device: recipe.name for recipe in RECIPES}


def judge(steps: Iterable[Step], profiles: Mapping[str, str | Mapping[str, Any]]) -> list[Judged]:
    """Return steps beside their predictions; profiles by device."""
    return [Judged(step, predict(step, profiles[step.device])) for step in steps]


def evidence(judged: Sequence[Judged]) -> tuple[StepEvidence, ...]:
    """Return what steps that nothing was fitted to say, by framework and span."""
    groups: dict[tuple[Any, bool], list[Judged]] = {}
    for each in judged:
        if each.step.use == "check":
            groups.setdefault((each.step.framework, each.step.nodes > 1), []).append(each)
    return tuple(
        StepEvidence(framework, several, _sources(some), _residuals(some), _within(some))
        for (framework, several), some in groups.items()
        if len(some) >= FEWEST
    )


def _sources(judged: Sequence[Judged]) -> int:
    return len({each.step.source for each in judged})


def _residuals(judged: Sequence[Judged]) -> Residuals:
    found = [each.residual for each in judged]
    # Of n rows a tenth of a new one's chance lies outside the (n + 1) / 10-th: no less is claimed.
    low, high = np.quantile(found, (0.1, 0.9), method="weibull")
    return Residuals(len(found), _short(mean(found)), _short(float(low)), _short(float(high)))


def _short(value: float) -> float:
    return round(value, 3)


def _within(judged: Sequence[Judged]) -> float:
    """Return the deviation of residuals beside the mean of their source."""
    by_source: dict[str, list[float]] = {}
    for each in judged:
        by_source.setdefault(each.step.source, []).append(each.residual)
    apart = [r - mean(some) for some in by_source.values() for r in some if len(some) > 1]
    return _short(pstdev(apart)) if len(apart) > 1 else 0.0


def quality(
    source: str, judged: Sequence[Judged], among: Sequence[Judged] | None = None
) -> Quality:
    """Return how well the steps of a source are predicted, judged by the other sources.

    Parameters
    ----------
    source : str
    judged : sequence of Judged
    among : sequence of Judged, optional
        Only these of its steps; all when not given.
    """
    own = [each for each in (judged if among is None else among) if each.step.source == source]
    others = evidence([each for each in judged if each.step.source != source])
    errors = [each.error for each in own]
    pairs = [(a, b) for a, b in combinations(own, 2) if _comparable(a, b)]
    peaks = [e.predicted.memory / e.step.memory - 1 for e in own if e.step.memory]
    return Quality(
        len(own),
        mean(abs(error) for error in errors),
        mean(errors),
        len(pairs),
        sum(_ordered(a, b) for a, b in pairs),
        _inside(own, others),
        mean(peaks) if peaks else None,
        mean(abs(peak) for peak in peaks) if peaks else None,
    )


def _comparable(a: Judged, b: Judged) -> bool:
    """Whether two steps do the same work by another layout, and took different times."""
    return (
        a.step.quantity == b.step.quantity
        and a.step.scenario["model"] == b.step.scenario["model"]
        and abs(math.log(a.step.seconds / b.step.seconds)) > 0.05
    )


def _ordered(a: Judged, b: Judged) -> bool:
    measured = a.step.seconds < b.step.seconds
    return measured == (a.predicted.seconds < b.predicted.seconds)


def _inside(own: Sequence[Judged], others: Sequence[StepEvidence]) -> int | None:
    held = [interval(others, each.step.framework, each.step.nodes) for each in own]
    if any(found is None for found in held):
        return None
    return sum(
        found is not None and math.log(found.low) <= each.residual <= math.log(found.high)
        for found, each in zip(held, own, strict=True)
    )
