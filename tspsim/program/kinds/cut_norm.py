"""An RMSNorm over a width of which there are pieces: cut over ranks, or one turn's after another's.

Two sums over the width are needed, one number per token: of squares in forward, and in backward of
the products of the normalised values with their gradients.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.norm import EPSILON
from tspsim.program.kinds.pointwise import Pointwise


def _scaled(x: Array, squares: Array, pieces: int) -> tuple[Array, Array]:
    """Return the normalised values, and 1/deviation."""
    scale = 1 / np.sqrt(squares / (pieces * x.shape[-1]) + EPSILON)
    return x * scale, scale


@dataclass(frozen=True, slots=True)
class Squares(Pointwise):
    """``x -> sum of squares`` of every token, [..., 1], added to earlier ones if there are any."""

    name = "squares"

    def values(self, where: Where, x: Array, *earlier: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return this part of the sums."""
        return (sum(earlier, (x**2).sum(-1, keepdims=True)),)


@dataclass(frozen=True, slots=True)
class CutNorm(Pointwise):
    """``(x, squares, w) -> y``: `squares` are the sums over all of the width.

    Parameters
    ----------
    pieces : int
        How many x of the same width make up all: ranks, or turns.
    """

    pieces: int
    name = "cut_norm"

    def values(self, where: Where, x: Array, squares: Array, w: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return y, the shape of x."""
        return (_scaled(x, squares, self.pieces)[0] * w,)


@dataclass(frozen=True, slots=True)
class Products(Pointwise):
    """``(dy, x, squares, w) -> sum of (dy * w) * normalised x`` of every token, [..., 1]."""

    pieces: int
    name = "products"

    def values(
        self,
        where: Where,  # noqa: ARG002
        dy: Array,
        x: Array,
        squares: Array,
        w: Array,
        *earlier: Array,
    ) -> tuple[Array, ...]:
        """Return this part of the sums, added to earlier ones if there are any."""
        part = (dy * w * _scaled(x, squares, self.pieces)[0]).sum(-1, keepdims=True)
        return (sum(earlier, part),)


@dataclass(frozen=True, slots=True)
class CutNormBackward(Pointwise):
    """``(dy, x, squares, products, w, dw) -> (dw + ..., dx)``."""

    pieces: int
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
        normalised, scale = _scaled(x, squares, self.pieces)
        mean = products / (self.pieces * x.shape[-1])
        dx = (dy * w - normalised * mean) * scale
        return dw + (dy * normalised).reshape(-1, x.shape[-1]).sum(0), dx
