"""Dropout: masks of one byte an element that backward reads.

The reading by values drops nothing, so that a dense model without random numbers can be compared
with: masks are ones, and what is kept is not scaled.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise

#: Bytes of one element of a mask.
MASK_ITEMSIZE = 1


@dataclass(frozen=True, slots=True)
class Dropout(Pointwise):
    """``x -> (dropped, mask)``; ``dropped`` may be x's own buffer."""

    name = "dropout"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return x and a mask of ones."""
        return x, np.ones_like(x)


@dataclass(frozen=True, slots=True)
class DropoutAdd(Pointwise):
    """``(x, target[, bias]) -> (target, mask)``: bias, dropout of the target, sum: one kernel."""

    name = "dropout_add"

    def values(self, where: Where, x: Array, target: Array, *bias: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the sum and a mask of ones."""
        return sum(bias, x + target), np.ones_like(target)


@dataclass(frozen=True, slots=True)
class DropoutBackward(Pointwise):
    """``(dy, mask) -> dx``, the mask applied."""

    name = "dropout_backward"

    def values(self, where: Where, dy: Array, mask: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient where the mask kept."""
        return (dy * mask,)
