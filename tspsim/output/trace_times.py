"""Seconds as the microseconds of a trace, such that slices which do not overlap still do not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Times(NamedTuple):
    """Starts and durations in microseconds, one of each per task."""

    start: list[float]
    duration: list[float]


def microseconds(start: ArrayLike, end: ArrayLike) -> Times:
    """Return starts and durations of tasks.

    A reader adds the two, perhaps after cutting each to whole nanoseconds. The duration is made
    shorter, by a nanosecond at most, where that sum would lie behind the end.

    Parameters
    ----------
    start, end : array of float, shape (tasks,)
        Seconds.
    """
    first, last = np.asarray(start, float) * 1e6, np.asarray(end, float) * 1e6
    duration = last - first
    duration = np.where(first + duration > last, np.nextafter(duration, 0), duration)
    for whole in (np.floor, np.rint):
        duration = np.where(_behind(whole, first, duration, last), duration - 1e-3, duration)
    return Times(first.tolist(), np.maximum(duration, 0.0).tolist())


def _behind(
    whole: np.ufunc,
    first: NDArray[np.float64],
    duration: NDArray[np.float64],
    last: NDArray[np.float64],
) -> NDArray[np.bool_]:
    """Tell where start and duration in whole nanoseconds end behind the end in whole ones."""
    late = whole(first * 1e3) + whole(duration * 1e3) > whole(last * 1e3)
    return np.asarray(late, dtype=np.bool_)
