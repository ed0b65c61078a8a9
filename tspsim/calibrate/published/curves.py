"""Efficiency as a monotone curve of size: isotonic regression of its logarithm."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy.optimize import isotonic_regression

from tspsim.calibrate.published.rows import Point
from tspsim.topology.hardware import Curve

#: With fewer points than this nothing is held out.
FEWEST = 6

#: Every third point is held out, in turn.
FOLDS = 3


def fit(points: Sequence[Point]) -> Curve:
    """Return the monotone curve nearest to some points, in squared relative deviations.

    Pool-adjacent-violators (Barlow, Bartholomew, Bremner and Brunk 1972), on logarithms, so that a
    small efficiency counts as much as a large one. Points without a size make a constant.
    """
    known: defaultdict[float, list[float]] = defaultdict(list)
    for point in points:
        known[point.size or 1.0].append(math.log(point.efficiency))
    sizes = sorted(known)
    means = [float(np.mean(known[size])) for size in sizes]
    levels = isotonic_regression(means, weights=[len(known[size]) for size in sizes]).x
    return _curve(sizes, [round(math.exp(level), 4) for level in levels])


def _curve(sizes: list[float], levels: list[float]) -> Curve:
    """Return a curve without the points inside a flat stretch; sizes to four digits."""
    flat = {
        i
        for i in range(len(sizes))
        if (i == 0 or levels[i - 1] == levels[i])
        and (i == len(sizes) - 1 or levels[i] == levels[i + 1])
    }
    kept = [i for i in range(len(sizes)) if i not in flat] or [0]
    knots = tuple((float(f"{sizes[i]:.4g}"), levels[i]) for i in kept)
    assert all(a[0] < b[0] for a, b in pairwise(knots))
    return Curve(knots)


def error(curve: Curve, points: Sequence[Point]) -> float:
    """Return the mean absolute relative error of the times that a curve gives."""
    return float(np.mean([abs(deviation(curve, point)) for point in points]))


def deviation(curve: Curve, point: Point) -> float:
    """Return predicted / measured time of a point, less 1."""
    return point.efficiency / curve.at(point.size or 1.0) - 1


def held_out_error(points: Sequence[Point]) -> float | None:
    """Return the error on every third point of a fit to the others, in turn; None: too few."""
    ordered = sorted(points, key=lambda point: point.size or 1.0)
    if len(ordered) < FEWEST:
        return None
    errors = []
    for fold in range(FOLDS):
        curve = fit([point for i, point in enumerate(ordered) if i % FOLDS != fold])
        errors += [abs(deviation(curve, point)) for point in ordered[fold::FOLDS]]
    return float(np.mean(errors))
