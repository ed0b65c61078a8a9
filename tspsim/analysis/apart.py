"""Whether two runs are told apart: how far their difference may be off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tspsim.topology.whole_steps import COVERAGE, told_apart

#: What two intervals must have alike, or predictions are not off by the same.
_ALIKE = ("framework", "experts")


@dataclass(frozen=True, slots=True)
class Apart:
    """By how much one run is faster than another, and within which factors that lies.

    Parameters
    ----------
    ratio : float
        The first one's tokens per second over the second one's.
    least : float
        Fraction by which two such runs have to differ to be told apart.
    """

    ratio: float
    least: float

    @property
    def draw(self) -> bool:
        """Whether they may as well be equal."""
        return self.differ < self.least

    @property
    def differ(self) -> float:
        """By which fraction the slower one takes longer."""
        return max(self.ratio, 1 / self.ratio) - 1

    @property
    def low(self) -> float:
        """The least that the ratio may be."""
        return self.ratio / (1 + self.least)

    @property
    def high(self) -> float:
        """The most that the ratio may be."""
        return self.ratio * (1 + self.least)

    def to_dict(self) -> dict[str, float]:
        """Return a JSON-able mapping."""
        return {"ratio": self.ratio, "low": self.low, "high": self.high, "coverage": COVERAGE}


def changed(interval: Mapping[str, Any] | None, before: float, after: float) -> Apart | None:
    """Return how far a step is from itself when one thing of it or its machine is another.

    What is off in one prediction is off in the other as well, as between two runs. None: unknown,
    or no time passes.

    Parameters
    ----------
    interval : Mapping or None
        Of the step as it is: ``interval`` of its figures.
    before, after : float
        Seconds.
    """
    if interval is None or not before or not after:
        return None
    return Apart(before / after, told_apart(interval["within"]))


def apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> Apart | None:
    """Return how far two runs are apart; None: their difference's error is unknown.

    It is known where both times have an interval, by one profile and one framework's kernels, and
    both models have experts or neither has: what predictions are off by together then cancels.

    Parameters
    ----------
    first, second : Mapping
        Figures of a run, as in ``--json``.
    """
    one, other = first["interval"], second["interval"]
    if one is None or other is None or any(one[key] != other[key] for key in _ALIKE):
        return None
    rates = [figures["tokens_per_second"] for figures in (first, second)]
    if first["profile"]["name"] != second["profile"]["name"] or not all(rates):
        return None
    return Apart(rates[0] / rates[1], told_apart(max(one["within"], other["within"])))
