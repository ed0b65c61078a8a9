"""Published steps beside what is predicted of them: errors, bias, order and coverage."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from statistics import mean, pstdev, stdev
from typing import Any, NamedTuple

from tspsim.analysis.spread import student
from tspsim.calibrate.published.steps import Predicted, Step, predict
from tspsim.kernels import Framework
from tspsim.topology.evidence import Residuals
from tspsim.topology.whole_steps import COVERAGE, StepEvidence, interval

#: Fewer sources say too little of how they differ.
FEWEST = 3

#: ``log(measured / predicted)`` of steps, by whose kernels, whether over several nodes, and source.
Residual = Mapping[tuple[Framework, bool, str], Sequence[float]]


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


def judge(
    steps: Iterable[Step], profiles: Mapping[str, str | Mapping[str, Any]] | None = None
) -> list[Judged]:
    """Return steps beside their predictions, by their devices' own profiles.

    Parameters
    ----------
    steps : iterable of Step
    profiles : mapping, optional
        Others by device; steps of devices that are not in it are left out.
    """
    if profiles is None:
        return [Judged(step, predict(step)) for step in steps]
    return [Judged(s, predict(s, profiles[s.device])) for s in steps if s.device in profiles]


def evidence(judged: Sequence[Judged]) -> tuple[StepEvidence, ...]:
    """Return what steps that nothing was fitted to say, by framework and span.

    Sources differ more from each other than the rows of one, and few have been compared. Their
    spread is therefore taken over all of them: the interval is that of a row of a further source,
    ``mean +- t * sqrt(between^2 * (1 + 1 / sources) + within^2)``, with Student's t at 10 and 90 %
    of as many sources less one (random effects, as in a meta-analysis; Higgins et al. 2009,
    doi:10.1111/j.1467-985X.2008.00552.x). A source counts once in a node and once over several.
    """
    groups = _checks(judged)
    if len(groups) < FEWEST:
        return ()
    return _by_kind(groups, *_of_a_further_source(list(groups.values())))


def evidence_of_mixtures(mixtures: Residual, judged: Sequence[Judged]) -> tuple[StepEvidence, ...]:
    """Return what steps of mixtures of experts say, to which nothing was fitted, likewise.

    Mean and spread within a source are their own. While they have fewer than three sources, how
    sources differ is what those of other steps say, `judged`: its square and the degrees of freedom
    of Student's t. A source alone is as far from the mean of all as a further one: 1 + 1 / sources
    is then 2.
    """
    own, others = list(mixtures.values()), list(_checks(judged).values())
    among = own if len(own) >= FEWEST else others
    if not own or len(among) < FEWEST:
        return ()
    found = _by_kind(mixtures, *_of_a_further_source(own, among))
    return tuple(replace(each, experts=True) for each in found)


def _checks(judged: Sequence[Judged]) -> Residual:
    groups: dict[tuple[Framework, bool, str], list[float]] = {}
    for each in judged:
        step = each.step
        if step.use == "check" and step.framework != "none":  # a part alone is no step
            key = step.framework, step.nodes > 1, step.source
            groups.setdefault(key, []).append(each.residual)
    return groups


def _of_a_further_source(
    sources: Sequence[Sequence[float]], among: Sequence[Sequence[float]] | None = None
) -> tuple[float, float]:
    """Return between what a row lies; `among`: sources that say how sources differ."""
    means, others = ([mean(some) for some in each] for each in (sources, among or sources))
    spread = math.sqrt(stdev(others) ** 2 * (1 + 1 / len(means)) + _within(sources) ** 2)
    half = student(COVERAGE, len(others) - 1) * spread
    return mean(means) - half, mean(means) + half


def _by_kind(groups: Residual, low: float, high: float) -> tuple[StepEvidence, ...]:
    kinds = sorted({key[:2] for key in groups}, key=lambda kind: (kind[1], kind[0]))
    return tuple(
        _of_kind(*kind, [some for key, some in groups.items() if key[:2] == kind], low, high)
        for kind in kinds
    )


def _of_kind(
    framework: Framework,
    several: bool,
    sources: Sequence[Sequence[float]],
    low: float,
    high: float,
) -> StepEvidence:
    rows = [residual for some in sources for residual in some]
    residuals = Residuals(len(rows), _short(mean(rows)), _short(low), _short(high))
    return StepEvidence(framework, several, len(sources), residuals, _short(_within(sources)))


def _short(value: float) -> float:
    return round(value, 3)


def _within(sources: Sequence[Sequence[float]]) -> float:
    """Return the deviation of residuals beside the mean of their source; 0: one row each."""
    apart = [r - mean(some) for some in sources for r in some if len(some) > 1]
    return pstdev(apart) if len(apart) > 1 else 0.0


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
