"""Whether two runs are told apart: how far their difference may be off."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tspsim.topology.whole_steps import COVERAGE, is_draw, told_apart


@dataclass(frozen=True, slots=True)
class Apart:
    """By how much one run is faster than another, and within which factors that lies.

    Parameters
    ----------
    ratio : float
        The first one's tokens per second over the second one's.
    within : float
        See `tspsim.analysis.interval.IntervalFigures.within`: the larger of the two.
    """

    ratio: float
    within: float

    @property
    def draw(self) -> bool:
        """Whether they may as well be equal."""
        return is_draw(self.ratio, self.within)

    @property
    def least(self) -> float:
        """By which fraction two such runs have to differ to be told apart."""
        return told_apart(self.within)

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


def apart(first: Mapping[str, Any], second: Mapping[str, Any]) -> Apart | None:
    """Return how far two runs are apart; None: their difference's error is unknown.

    It is known where both times have an interval, by one profile and one framework's kernels: what
    their predictions are off by together then cancels.

    Parameters
    ----------
    first, second : Mapping
        Figures of a run, as in ``--json``.
    """
    one, other = first["interval"], second["interval"]
    if one is None or other is None or first["profile"]["name"] != second["profile"]["name"]:
        return None
    rates = [figures["tokens_per_second"] for figures in (first, second)]
    if one["framework"] != other["framework"] or not all(rates):
        return None
    return Apart(rates[0] / rates[1], max(one["within"], other["within"]))
