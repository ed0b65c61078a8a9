"""Efficiency curves: achieved / best rate of a kind of op, monotone in the size of the work."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import isotonic_regression
from scipy.stats import theilslopes

from tspsim.calibrate.rows import Row

#: Points of a curve at most: more would follow the noise.
KNOTS = 8
#: Digits that are kept: the noise begins before.
DIGITS = 4

Points = tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Compute:
    """Constants of compute.

    Parameters
    ----------
    flop_rate, memory_bandwidth : float
        The best rates seen: the peaks that efficiencies refer to.
    launch : float
        Seconds of every op, whatever its size.
    curves : dict of str to points
        By curve of `tspsim.program.types.Work`.
    """

    flop_rate: float
    memory_bandwidth: float
    launch: float
    curves: dict[str, Points]


def curve_of(op: str) -> str:
    """Return the curve that an op belongs to."""
    return op if op in ("matmul", "attention", "attention_backward") else "elementwise"


def rounded(value: float) -> float:
    """Return a value with `DIGITS` significant digits."""
    return float(f"{value:.{DIGITS}g}")


def fit_compute(rows: Sequence[Row]) -> Compute:
    """Return the constants that rows of ops give."""
    launch = _launch(rows)
    speeds: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        curve = curve_of(row.case["op"])
        size = row.case["bytes" if curve == "elementwise" else "flops"]
        seconds = max(row.median - launch, row.median / 2)
        speeds.setdefault(curve, []).append((size, size / seconds))
    rate = rounded(
        max(s for name, all_ in speeds.items() if name != "elementwise" for _, s in all_)
    )
    bandwidth = rounded(max(s for _, s in speeds["elementwise"]))
    peaks = {name: bandwidth if name == "elementwise" else rate for name in speeds}
    curves = {name: monotone(found, peaks[name]) for name, found in sorted(speeds.items())}
    return Compute(rate, bandwidth, launch, curves)


def _launch(rows: Sequence[Row]) -> float:
    """Return where the line through the additions meets no bytes at all (Theil and Sen)."""
    adds = [row for row in rows if row.case["op"] == "add"]
    if len(adds) < 2:
        return 0.0
    line = theilslopes([row.median for row in adds], [row.case["bytes"] for row in adds])
    smallest = min(row.median for row in rows)
    return rounded(float(np.clip(line.intercept, 0.0, smallest / 2)))


def monotone(speeds: Sequence[tuple[float, float]], peak: float) -> Points:
    """Return efficiency over size, rising or falling throughout, whichever is nearer.

    Caches make small element-wise ops fast on one machine, launches make them slow on another.
    """
    ordered = sorted(speeds)
    groups = np.array_split(np.array(ordered), min(KNOTS, len({size for size, _ in ordered})))
    sizes = [math.exp(np.log(group[:, 0]).mean()) for group in groups]
    # Several ops share a curve: what they take together is to be right, so times are averaged.
    middle = np.array([1 / (peak / group[:, 1]).mean() for group in groups])
    weights = np.array([len(group) for group in groups], dtype=float)
    tries = [isotonic_regression(middle, weights=weights, increasing=up).x for up in (True, False)]
    losses = [float((weights * (np.log(x) - np.log(middle)) ** 2).sum()) for x in tries]
    best = tries[int(losses[1] < losses[0])]
    found: dict[float, float] = {}
    for size, efficiency in zip(sizes, best.tolist(), strict=True):
        found.setdefault(rounded(size), min(1.0, rounded(efficiency)))
    return tuple(found.items())
