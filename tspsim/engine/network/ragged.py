"""Rows of different lengths in one flat array."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Integers: TypeAlias = NDArray[np.integer[Any]]


def spread(first: Integers, length: Integers) -> Integers:
    """Return the places ``first[i] ... first[i] + length[i] - 1`` of all rows, one after another.

    Parameters
    ----------
    first : ndarray of integers, shape (rows,)
        Where every row begins.
    length : ndarray of integers, shape (rows,)
        How long it is.
    """
    if not length.size:
        return first
    longest = length.max()
    if longest == length.min():  # the common case: routes and gates that are alike
        return first if longest == 1 else (first[:, None] + np.arange(longest)).ravel()
    ends = np.cumsum(length)
    return np.repeat(first - ends + length, length) + np.arange(ends[-1])
