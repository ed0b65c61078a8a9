"""Norms of queries and keys: of every head by itself, or of whole projections, cut or not."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TypeAlias

from tspsim.program.axis import Axis
from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.cut_norm import CutNorm, CutNormBackward, Products, Squares
from tspsim.program.kinds.passes import Passes
from tspsim.program.kinds.plain_norm import (
    PLAIN_BACKWARD_PASSES,
    PLAIN_PASSES,
    PlainNorm,
    PlainNormBackward,
)
from tspsim.program.packed import Weights
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.types import Operand

#: The weights of both norms, where there are any.
NormWeights: TypeAlias = Weights | None
#: What the backward of one norm reads.
Saved: TypeAlias = tuple[Operand, ...]


class HeadNorms(ABC):
    """Norms of queries and keys, between projection and positions.

    Parameters
    ----------
    rank : Rank
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank

    @abstractmethod
    def forward(self, x: Operand, w: NormWeights, which: str) -> tuple[Operand, Saved]:
        """Return q or k with its norm, and what the backward of that reads."""

    @abstractmethod
    def backward(self, dy: Operand, saved: Saved, w: NormWeights, which: str) -> Operand:
        """Return the gradient before the norm; that of its weight is added up."""


class Plain(HeadNorms):
    """Every head by itself, without a weight."""

    def forward(self, x: Operand, w: NormWeights, which: str) -> tuple[Operand, Saved]:  # noqa: ARG002
        """Return q or k with its norm, and itself."""
        heads, label = split(x, self.rank.model.head_dim), f"norm.{which}"
        out = self.rank.tensor(label, heads.shape)
        self._compute(PlainNorm(), PLAIN_PASSES, (heads,), out, label)
        return view(out, 0, x.shape), (heads,)

    def backward(self, dy: Operand, saved: Saved, w: NormWeights, which: str) -> Operand:  # noqa: ARG002
        """Return the gradient before the norm."""
        heads = split(dy, self.rank.model.head_dim)
        out = self.rank.tensor(f"norm.{which}", heads.shape)
        kind = PlainNormBackward()
        self._compute(kind, PLAIN_BACKWARD_PASSES, (heads, *saved), out, f"dnorm.{which}")
        return view(out, 0, dy.shape)

    def _compute(
        self,
        kind: ComputeKind,
        passes: tuple[int, float],
        inputs: tuple[Operand, ...],
        out: Operand,
        label: str,
    ) -> None:
        apart = self.rank.kernels.norm == "separate"
        self.rank.compute(Passes(kind, *passes) if apart else kind, inputs, (out,), label)


class Weighted(HeadNorms):
    """With weights."""

    def forward(self, x: Operand, w: NormWeights, which: str) -> tuple[Operand, Saved]:
        """Return q or k with its norm, and what the backward of that reads."""
        assert w is not None
        return self._forward(x, w.value[f"{which}_norm"], f"norm.{which}")

    def backward(self, dy: Operand, saved: Saved, w: NormWeights, which: str) -> Operand:
        """Return the gradient before the norm; that of its weight is added up."""
        assert w is not None
        pair = w.value[f"{which}_norm"], w.gradient[f"{which}_norm"]
        return self._backward(dy, saved, pair, f"norm.{which}")

    @abstractmethod
    def _forward(self, x: Operand, w: Operand, label: str) -> tuple[Operand, Saved]: ...

    @abstractmethod
    def _backward(
        self, dy: Operand, saved: Saved, w: tuple[Operand, Operand], label: str
    ) -> Operand: ...


class Apart(Weighted):
    """Every head by itself, or a whole projection that one rank has: the norm of a last dim.

    Parameters
    ----------
    rank : Rank
    width : int or None
        Of what a norm is over; None: all that there is.
    """

    def __init__(self, rank: Rank, width: int | None) -> None:
        super().__init__(rank)
        self.width = width

    def _forward(self, x: Operand, w: Operand, label: str) -> tuple[Operand, Saved]:
        tape = self.rank.norm(split(x, self.width), w, label)
        return view(tape.output, 0, x.shape), tape.saved

    def _backward(
        self, dy: Operand, saved: Saved, w: tuple[Operand, Operand], label: str
    ) -> Operand:
        heads = split(dy, self.width)
        return view(self.rank.norm_backward(heads, saved, w, label), 0, dy.shape)


class Together(Weighted):
    """Whole projections of which every rank has some heads: sums over the ranks, one per token.

    Parameters
    ----------
    rank : Rank
    axis : Axis
        Cuts the heads.
    """

    def __init__(self, rank: Rank, axis: Axis) -> None:
        super().__init__(rank)
        self.axis = axis

    def _sum(self, kind: Squares | Products, inputs: tuple[Operand, ...], label: str) -> Operand:
        sums = self.rank.statistics(kind.name, (*inputs[0].shape[:-1], 1))
        self.rank.compute(kind, inputs, (sums,), label)
        return self.axis.all_reduce(sums, lane="activations", label=label)[0]

    def _forward(self, x: Operand, w: Operand, label: str) -> tuple[Operand, Saved]:
        squares, out = self._sum(Squares(), (x,), label), self.rank.tensor(label, x.shape)
        self.rank.compute(CutNorm(self.axis.degree), (x, squares, w), (out,), label)
        return out, (x, squares)

    def _backward(
        self, dy: Operand, saved: Saved, w: tuple[Operand, Operand], label: str
    ) -> Operand:
        value, gradient = w
        kind = Products(self.axis.degree)
        products = self._sum(kind, (dy, *saved, value), f"d{label}")
        dx = self.rank.tensor(label, dy.shape)
        inputs = (dy, *saved, products, value, gradient)
        self.rank.compute(CutNormBackward(self.axis.degree), inputs, (gradient, dx), f"d{label}")
        return dx


def split(x: Operand, width: int | None) -> Operand:
    """Return x with its last dim in parts of that width, or in one."""
    width = width or x.shape[-1]
    return view(x, 0, (*x.shape[:-1], x.shape[-1] // width, width))


def head_norms(rank: Rank, axis: Axis | None) -> HeadNorms | None:
    """Return the norms that the model has, of heads that an axis cuts; None where it has none."""
    if rank.model.qk_norm is None:
        return None
    if rank.model.qk_norm == "plain":
        return Plain(rank)
    if rank.model.qk_norm == "head":
        return Apart(rank, rank.model.head_dim)
    return Together(rank, axis) if axis and axis.degree > 1 else Apart(rank, None)
