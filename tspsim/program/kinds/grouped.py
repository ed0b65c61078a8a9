"""Matrix products of several experts, each of its own rows with its own matrix, in one op."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where, already_narrow, moved
from tspsim.program.rows import Groups
from tspsim.program.types import Operand, PerCoordinate, Work


@dataclass(frozen=True, slots=True)
class GroupedMatmul:
    """``out (+)= op(a) op(b)``, expert by expert.

    Parameters
    ----------
    groups : Groups
        Rows of every expert.
    transpose_a, transpose_b : bool
        Forward: neither; ``[rows, k] [experts, k, n]``. Data gradient: ``dy W^T``. Weight gradient:
        ``x^T dy``, which gives a matrix for every expert.
    accumulate : bool
        The last input is the output's earlier value.
    dtype : str
        What is multiplied, where that is narrower than the operands in memory.
    """

    groups: Groups
    transpose_a: bool = False
    transpose_b: bool = False
    accumulate: bool = False
    dtype: str = ""
    name = "grouped_matmul"

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return 2 k n flops a row, every operand moved once; shape (rows, groups, k, n, busiest).

        `busiest` has the rows of the expert that has most.
        """
        a, b = inputs[0].shape, inputs[1].shape
        k, n = (a[1], b[1]) if self.transpose_a else (b[1:][::-1] if self.transpose_b else b[1:])
        groups, size = self.groups, moved(inputs, outputs)
        narrow = already_narrow(self.dtype, inputs)

        def of(busiest: int) -> Work:
            shape = (a[0], groups.experts, k, n, busiest)
            return Work(2 * a[0] * k * n, size, "grouped", shape, self.dtype, narrow=narrow)

        works = tuple(of(busiest) for busiest in groups.busiest)
        if groups.axes is None or len(set(works)) == 1:
            return works[0]
        return PerCoordinate(groups.axes, works)

    def values(self, where: Where, a: Array, b: Array, *earlier: Array) -> tuple[Array, ...]:
        """Return the products."""
        ends = np.cumsum(self.groups.at(where))[:-1]
        if self.transpose_a:
            pairs = zip(np.split(a, ends), np.split(b, ends), strict=True)
            out = np.stack([x.T @ dy for x, dy in pairs])
        else:
            pairs = zip(np.split(a, ends), b, strict=True)
            out = np.concatenate([x @ (w.T if self.transpose_b else w) for x, w in pairs])
        return (out + earlier[0] if earlier else out,)

    def text(self) -> str:
        """Return for example ``grouped_matmul(a·bᵀ, +=)``."""
        form = f"a{'ᵀ' * self.transpose_a}·b{'ᵀ' * self.transpose_b}"
        return f"grouped_matmul({form}{', +=' if self.accumulate else ''})"
