"""Fills the holes of a grid of measured values along the lines through each of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Grid = NDArray[np.float64]

#: A value carried on past the last measured one counts as one from so many times as far.
_BEYOND = 3.0

#: And as one from at least this far (in log2).
_APART = 0.4


def filled(grid: Grid, axes: Sequence[NDArray[np.float64]]) -> Grid:
    """Return a grid without holes.

    A hole takes the mean of what linear interpolation gives along each axis between the nearest
    known neighbours. The weight of an axis is the inverse of the squared error that this makes at
    the values that are known, per distance of the neighbours: kernels differ along some axes more
    than along others. Holes that no line reaches are filled from those that one did.

    Parameters
    ----------
    grid : array
        NaN where nothing is known.
    axes : sequence of array
        Increasing positions along each axis.
    """
    strengths = [_strength(grid, axis, place) for place, axis in enumerate(axes)]
    while np.isnan(grid).any():
        total, weights = np.zeros_like(grid), np.zeros_like(grid)
        for place, axis in enumerate(axes):
            value, distance = _along(grid, axis, place)
            weight = np.where(np.isnan(value), 0.0, strengths[place] / distance)
            total += weight * np.nan_to_num(value)
            weights += weight
        hole = np.isnan(grid) & (weights > 0)
        assert hole.any()
        grid = np.where(hole, total / np.where(weights > 0, weights, 1.0), grid)
    return grid


def _strength(grid: Grid, axis: NDArray[np.float64], place: int) -> float:
    """Return the inverse of the squared error per distance along an axis."""
    value, distance = _along(grid, axis, place)
    error = np.square(value - grid) / distance
    known = error[~np.isnan(error)]
    return 1.0 / max(float(np.mean(known)), 1e-6) if len(known) else 1e-3


def _along(grid: Grid, axis: NDArray[np.float64], place: int) -> tuple[Grid, Grid]:
    """Return the values between the nearest known neighbours on an axis, and their distance."""
    values = np.moveaxis(grid, place, 0)
    index = np.arange(len(axis)).reshape(-1, *[1] * (grid.ndim - 1))
    known = np.where(np.isnan(values), -1, index)
    after = np.where(np.isnan(values), len(axis), index)
    before = _shifted(np.maximum.accumulate(known, axis=0), -1)
    after = _shifted(np.minimum.accumulate(after[::-1], axis=0), len(axis))[::-1]
    has_low, has_high = before >= 0, after < len(axis)
    low, high = np.where(has_low, before, after), np.where(has_high, after, before)
    low, high = np.clip(low, 0, len(axis) - 1), np.clip(high, 0, len(axis) - 1)
    span, here = axis[high] - axis[low], axis[index]
    share = np.where(span > 0, (here - axis[low]) / np.where(span > 0, span, 1.0), 0.0)
    share = np.where(has_low & has_high, share, 0.0)
    at = np.take_along_axis(values, low, 0) * (1 - share)
    at = at + np.take_along_axis(values, high, 0) * share
    beyond = _BEYOND * np.abs(here - axis[low]) + _APART
    distance = np.where(has_low & has_high, span, beyond)
    value = np.where(has_low | has_high, at, np.nan)
    return np.moveaxis(value, 0, place), np.moveaxis(distance, 0, place)


def _shifted(index: NDArray[np.int64], first: int) -> NDArray[np.int64]:
    """Return what stands one place earlier: a value does not count as its own neighbour."""
    return np.concatenate([np.full_like(index[:1], first), index[:-1]])
