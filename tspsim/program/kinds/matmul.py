"""Matrix product of activations with a weight, in the three forms that training needs."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where, already_narrow, moved
from tspsim.program.types import Operand, Work


@dataclass(frozen=True, slots=True)
class Matmul:
    """``out (+)= op(a) op(b)``; leading dims of `a` (and of `b`, for a gradient) are flattened.

    Parameters
    ----------
    transpose_a, transpose_b : bool
        Forward: neither. Data gradient: ``dy W^T``. Weight gradient: ``x^T dy``.
    accumulate : bool
        The last input is the output's earlier value.
    dtype : str
        What is multiplied, where that is narrower than the operands in memory: ``"fp8"``.
    """

    transpose_a: bool = False
    transpose_b: bool = False
    accumulate: bool = False
    dtype: str = ""
    name = "matmul"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return 2mkn flops, and every operand moved once."""
        a, b = inputs[0].shape, inputs[1].shape
        rows = math.prod(a[:-1])
        m, k = (a[-1], rows) if self.transpose_a else (rows, a[-1])
        n = b[0] if self.transpose_b else b[-1]
        traffic, narrow = moved(inputs, outputs), already_narrow(self.dtype, inputs)
        return Work(2 * m * k * n, traffic, "matmul", (m, k, n), self.dtype, narrow=narrow)

    def values(
        self,
        where: Where,  # noqa: ARG002
        a: Array,
        b: Array,
        *earlier: Array,
    ) -> tuple[Array, ...]:
        """Return the product."""
        if self.transpose_a:
            out = a.reshape(-1, a.shape[-1]).T @ b.reshape(-1, b.shape[-1])
        else:
            out = a @ (b.T if self.transpose_b else b)
        return (np.asarray(out + earlier[0] if earlier else out),)

    def text(self) -> str:
        """Return for example ``matmul(a·bᵀ, +=)``."""
        form = f"a{'ᵀ' * self.transpose_a}·b{'ᵀ' * self.transpose_b}"
        dtype = f", {self.dtype}" if self.dtype else ""
        return f"matmul({form}{', +=' if self.accumulate else ''}{dtype})"
