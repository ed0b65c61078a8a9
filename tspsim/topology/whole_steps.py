"""How far predictions of whole steps were off, by the framework that ran them and how far it spans.

The published steps say so (``tspsim validate --published``); a profile holds it for the devices
that were measured. One device's kernels say nothing about another's steps: there it is unknown.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from tspsim.kernels import Framework
from tspsim.topology.evidence import Residuals

#: Of the intervals that are printed.
COVERAGE = 0.8
#: Quantiles of a normal distribution that leave out as much on both sides.
_DEVIATIONS = 1.2816


@dataclass(frozen=True, slots=True)
class StepEvidence:
    """Deviations of published steps from what was predicted, where nothing was fitted to them.

    Parameters
    ----------
    framework : Framework
        Whose kernels ran.
    several : bool
        Over several nodes, not in one.
    sources : int
        Who measured.
    residuals : Residuals
    within : float
        Standard deviation of their logarithms beside the mean of their source: what remains when
        two runs of one program on one machine are compared.
    experts : bool
        Of mixtures of experts: messages, routing and grouped products make others of their errors.
    """

    framework: Framework
    several: bool
    sources: int
    residuals: Residuals
    within: float
    experts: bool = False


class Interval(NamedTuple):
    """Factors between which a step's time lies with a probability of `COVERAGE`.

    Attributes
    ----------
    low, high : float
        Times the predicted time.
    rows, sources : int
        Published steps that it rests on, and who measured them.
    within : float
        See `StepEvidence.within`.
    borrowed : bool
        They were run by another framework.
    """

    low: float
    high: float
    rows: int
    sources: int
    within: float
    borrowed: bool = False

    def of(self, seconds: float) -> tuple[float, float]:
        """Return the interval of a predicted time."""
        return seconds * self.low, seconds * self.high


def interval(
    known: Iterable[StepEvidence], framework: Framework, nodes: int, *, experts: bool = False
) -> Interval | None:
    """Return the interval of steps like one; None where no such step was ever compared.

    Parameters
    ----------
    known : iterable of StepEvidence
        Of the profile.
    framework : Framework
        Where none of its steps were compared over such a span, those of others count. Of nobody's
        kernels (``ideal``) nothing is known.
    nodes : int
    experts : bool
        Whether the model has experts: steps with and without them say nothing of each other.
    """
    kind = nodes > 1, experts
    alike = [each for each in known if (each.several, each.experts) == kind]
    own = [each for each in alike if each.framework == framework]
    if framework == "none" or not alike:
        return None
    some = own or alike
    return Interval(
        math.exp(min(each.residuals.low for each in some)),
        math.exp(max(each.residuals.high for each in some)),
        sum(each.residuals.rows for each in some),
        sum(each.sources for each in some),
        max(each.within for each in some),
        borrowed=not own,
    )


def told_apart(within: float) -> float:
    """Return the fraction by which two runs have to differ to be told apart.

    Both predictions were off by about the same; by what is left, `within`, each for itself.
    """
    return math.exp(_DEVIATIONS * math.sqrt(2) * within) - 1
