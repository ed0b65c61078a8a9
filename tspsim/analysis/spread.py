"""How a figure spreads over runs that differ by chance, and how sure its mean is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

#: How sure the confidence interval of a mean is.
CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over several runs.

    Parameters
    ----------
    runs : int
    mean : float
    standard_deviation : float or None
        Of one run (n - 1 in the denominator); None for a single run.
    minimum, median, p95, maximum : float
        The 95th percentile is linear between the two nearest runs.
    low, high : float or None
        The 95 % confidence interval of the mean by Student's t; None for a single run.
    """

    runs: int
    mean: float
    standard_deviation: float | None
    minimum: float
    median: float
    p95: float
    maximum: float
    low: float | None
    high: float | None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        return {
            "mean": self.mean,
            "standard_deviation": self.standard_deviation,
            "min": self.minimum,
            "median": self.median,
            "p95": self.p95,
            "max": self.maximum,
            "confidence_95": None if self.low is None else [self.low, self.high],
        }


def spread(values: Sequence[float]) -> Spread:
    """Return how values spread."""
    count, ordered = len(values), sorted(values)
    mean = math.fsum(values) / count
    shape = (ordered[0], statistics.median(ordered), _percentile(ordered, 0.95), ordered[-1])
    if count == 1:
        return Spread(count, mean, None, *shape, None, None)
    deviation = statistics.stdev(values)
    half = student(CONFIDENCE, count - 1) * deviation / math.sqrt(count)
    return Spread(count, mean, deviation, *shape, mean - half, mean + half)


def _percentile(ordered: Sequence[float], fraction: float) -> float:
    place = fraction * (len(ordered) - 1)
    below = math.floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


@cache
def student(probability: float, degrees: int) -> float:
    """Return the t that Student's distribution stays within, on both sides, that probably.

    Parameters
    ----------
    probability : float
        Between 0 and 1, both exclusive.
    degrees : int
        Degrees of freedom.

    Notes
    -----
    The probability has a closed form for whole degrees of freedom (Abramowitz and Stegun,
    *Handbook of Mathematical Functions*, 26.7.3 and 26.7.4); it is inverted by bisection over the
    angle ``atan(t / sqrt(degrees))``.
    """
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _within(middle, degrees) < probability else (low, middle)
    return math.tan(low) * math.sqrt(degrees)


def _within(angle: float, degrees: int) -> float:
    """Return the probability of ``-t <= T <= t`` with ``t = tan(angle) sqrt(degrees)``."""
    sine, cosine = math.sin(angle), math.cos(angle)
    odd = degrees % 2
    if degrees == 1:
        return 2 * angle / math.pi
    term = total = cosine if odd else 1.0
    for k in range(3 if odd else 2, degrees - 1, 2):
        term *= (k - 1) / k * cosine**2
        total += term
    return 2 / math.pi * (angle + sine * total) if odd else sine * total
