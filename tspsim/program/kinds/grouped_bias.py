"""Biases of several experts, each added to its own rows, and their gradients.

Where experts are cut by columns, so is the bias of their outputs: a rank adds its own columns' to
what it has of the outputs, and sums over ranks have each column's once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.base import Array, Where
from tspsim.program.rows import Groups
from tspsim.program.types import Operand, PerCoordinate, Work
from tspsim.program.varying import of_rank


@dataclass(frozen=True, slots=True)
class _Grouped:
    """What both share.

    Parameters
    ----------
    groups : Groups
        Rows of every expert.
    width, first : int
        The rows' columns that biases are for: how many, and the first of them.
    """

    groups: Groups
    width: int
    first: int = 0
    name = "grouped_bias"

    def _columns(self, where: Where) -> slice:
        first = of_rank(self.first, where.mesh, where.rank)
        return slice(first, first + self.width)

    def _moved(self, rows: Operand) -> int:
        """Return the bytes of these columns."""
        return round(rows.bytes * self.width / rows.shape[1])

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class GroupedBias(_Grouped):
    """``(b [experts, n], rows) -> rows + b``, written over the rows."""

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that these columns are read and written."""
        return Work(0, inputs[0].bytes + 2 * self._moved(outputs[0]), "elementwise")

    def values(self, where: Where, b: Array, rows: Array) -> tuple[Array, ...]:
        """Return the rows."""
        out = rows.copy()
        out[:, self._columns(where)] += np.repeat(b, self.groups.at(where), axis=0)
        return (out,)


@dataclass(frozen=True, slots=True)
class ByExpert:
    """An activation's kernel that adds biases, those of its own expert to every row.

    Parameters
    ----------
    kind : ComputeKind
        What it does where all rows have the same.
    groups : Groups
        Rows of every expert.
    biases : int
        So many of the last inputs are biases, [experts, n].
    """

    kind: ComputeKind
    groups: Groups
    biases: int

    @property
    def name(self) -> str:
        """The name of the activation."""
        return self.kind.name

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return the activation's."""
        return self.kind.work(inputs, outputs)

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return what the activation gives."""
        rows, counts = arrays[: -self.biases], self.groups.at(where)
        own = (np.repeat(b, counts, axis=0) for b in arrays[-self.biases :])
        return self.kind.values(where, *rows, *own)

    def text(self) -> str:
        """Return the activation's text."""
        return f"{self.kind.text()} by expert"


@dataclass(frozen=True, slots=True)
class GroupedBiasGradient(_Grouped):
    """``(drows[, db]) -> db [experts, n]``: sums over an expert's rows, added to earlier ones."""

    name = "grouped_bias_gradient"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that these columns are read, and the sums written."""
        sums = sum(o.bytes for o in (*inputs[1:], *outputs))
        return Work(0, self._moved(inputs[0]) + sums, "elementwise")

    def values(self, where: Where, drows: Array, *earlier: Array) -> tuple[Array, ...]:
        """Return the sums."""
        mine, ends = drows[:, self._columns(where)], np.cumsum(self.groups.at(where))[:-1]
        return (sum(earlier, np.stack([some.sum(0) for some in np.split(mine, ends)])),)
