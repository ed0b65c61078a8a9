"""An RMSNorm over a width that is cut over ranks: each holds some of it, and as much of the weight.

Two sums over the width go from rank to rank, one number per token: of squares in forward, and in
backward of the products of the normalised values with their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.norm import EPSILON
from tspsim.program.kinds.pointwise import Pointwise


def _scaled(x: Array, squares: Array, ranks: int) -> tuple[Array, Array]:
    """Return the normalised values, and 1/deviation."""
    scale = 1 / np.sqrt(squares / (ranks * x.shape[-1]) + EPSILON)
    return x * scale, scale


@dataclass(frozen=True, slots=True)
class Squares(Pointwise):
    """``x -> sum of squares`` of every token, [..., 1]."""

    name = "squares"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return this rank's part of the sums."""
        return ((x**2).sum(-1, keepdims=True),)


@dataclass(frozen=True, slots=True)
class CutNorm(Pointwise):
    """``(x, squares, w) -> y``: `squares` are the sums over all ranks.

    Parameters
    ----------
    ranks : int
        How many have a part of the width, all the same.
    """

    ranks: int
    name = "cut_norm"

    def values(self, where: Where, x: Array, squares: Array, w: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return y, the shape of x."""
        return (_scaled(x, squares, self.ranks)[0] * w,)


@dataclass(frozen=True, slots=True)
class Products(Pointwise):
    """``(dy, x, squares, w) -> sum of (dy * w) * normalised x`` of every token, [..., 1]."""

    ranks: int
    name = "products"

    def values(
        self,
        where: Where,  # noqa: ARG002
        dy: Array,
        x: Array,
        squares: Array,
        w: Array,
    ) -> tuple[Array, ...]:
        """Return this rank's part of the sums."""
        return ((dy * w * _scaled(x, squares, self.ranks)[0]).sum(-1, keepdims=True),)


@dataclass(frozen=True, slots=True)
class CutNormBackward(Pointwise):
    """``(dy, x, squares, products, w, dw) -> (dw + ..., dx)``."""

    ranks: int
    name = "cut_norm_backward"

    def values(
        self,
        where: Where,  # noqa: ARG002
        dy: Array,
        x: Array,
        squares: Array,
        products: Array,
        w: Array,
        dw: Array,
    ) -> tuple[Array, ...]:
        """Return dw and dx."""
        normalised, scale = _scaled(x, squares, self.ranks)
        mean = products / (self.ranks * x.shape[-1])
        dx = (dy * w - normalised * mean) * scale
        return dw + (dy * normalised).reshape(-1, x.shape[-1]).sum(0), dx
