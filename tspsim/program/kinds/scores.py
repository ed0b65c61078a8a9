"""Attention without a flash kernel: products, softmax and scores in memory, one op each.

Nothing of the square is left out: masked scores are computed and kept like all others. The
arrays are ``[batch, heads, queries, keys]``. The kernels are those of Korthikanti et al. 2022
(arXiv 2205.05198, section 4.1): a fused mask and softmax between two batched matmuls.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.attention import Core, by_head
from tspsim.program.kinds.base import Array, Where, moved
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.types import Operand, Work


@dataclass(frozen=True, slots=True)
class _Product:
    """A batched matmul that has the scores' square as an operand or as its result.

    Parameters
    ----------
    core : Core
    head_dim : int
        Width of a head's keys, or of its values: of what is multiplied with the square, or made.
    """

    core: Core
    head_dim: int
    name = "product"
    #: Whether the sum runs over keys or queries; otherwise it runs over the head's width.
    sums_square = True

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return two flops per pair and element of a head, masked pairs included."""
        square = next(o for o in (*inputs, *outputs) if len(o.shape) == 4)
        batch, heads, queries, keys = square.shape
        inner = (keys, self.head_dim) if self.sums_square else (self.head_dim, keys)
        flops = 2 * batch * heads * queries * keys * self.head_dim
        shape = (batch * heads * queries, *inner)
        return Work(flops, moved(inputs, outputs), "matmul", shape)

    def text(self) -> str:
        """Return the name with its heads and mask."""
        return self.core.text(self.name)


@dataclass(frozen=True, slots=True)
class Scores(_Product):
    """``(q, K) -> scores``, scaled by the root of the head's width."""

    name = "scores"
    sums_square = False

    def values(self, where: Where, q: Array, k: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the scores before the mask."""
        heads = self.core.split(q, self.core.heads)
        return (heads @ self.core.expand(k).swapaxes(-1, -2) / np.sqrt(heads.shape[-1]),)


def _read(core: Core, square: Operand) -> int:
    """Return the bytes that a masked softmax reads of a square.

    Of a whole causal sequence one half: Megatron-LM's `scaled_upper_triang_masked_softmax` loads no
    masked element, and writes zeros there.
    """
    return square.bytes // 2 if core.causal and core.axis is None else square.bytes


@dataclass(frozen=True, slots=True)
class Softmax(Pointwise):
    """``(scores[, sinks]) -> probabilities``: mask and softmax in one kernel; 0 of no key at all.

    With sinks what a query's probabilities lack of 1 is its head's sink's.
    """

    core: Core
    name = "softmax"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return Work(0, _read(self.core, inputs[0]) + outputs[0].bytes, "elementwise")

    def values(self, where: Where, scores: Array, *sinks: Array) -> tuple[Array, ...]:
        """Return the probabilities."""
        masked = np.where(self.core.mask(where), scores, -np.inf)
        top = masked.max(-1, keepdims=True)
        top = np.where(np.isfinite(top), top, 0.0)
        weights = np.exp(masked - top)
        total = sum((np.exp(by_head(s) - top) for s in sinks), weights.sum(-1, keepdims=True))
        return (weights / np.where(total > 0, total, 1.0),)


@dataclass(frozen=True, slots=True)
class WeightedSum(_Product):
    """``(probabilities, V) -> o``."""

    name = "weighted_sum"

    def values(self, where: Where, weights: Array, v: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the output of all heads side by side."""
        return (self.core.joined(weights @ self.core.expand(v)),)


@dataclass(frozen=True, slots=True)
class Transpose(Pointwise):
    """``xs -> xs``: from heads side by side, as batched products write them, to tokens, or packed.

    Megatron-LM's ``permute(2, 0, 1, 3).contiguous()`` of the output, and autograd's concatenation
    of dq, dk and dv into the gradient of one projection. Here they are in token order already.
    """

    name = "transpose"

    def values(self, where: Where, *xs: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return them."""
        return xs


@dataclass(frozen=True, slots=True)
class WeightsGradient(_Product):
    """``(do, V) -> dprobabilities``."""

    name = "dprobabilities"
    sums_square = False

    def values(self, where: Where, do: Array, v: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the probabilities."""
        return (self.core.split(do, self.core.heads) @ self.core.expand(v).swapaxes(-1, -2),)


@dataclass(frozen=True, slots=True)
class SoftmaxBackward(Pointwise):
    """``(probabilities, dprobabilities) -> dscores``, written over the gradient."""

    core: Core
    name = "softmax_backward"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        read = sum(_read(self.core, square) for square in inputs)
        return Work(0, read + outputs[0].bytes, "elementwise")

    def values(self, where: Where, p: Array, dp: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the scores, scaled as they are."""
        return (p * (dp - (dp * p).sum(-1, keepdims=True)),)


@dataclass(frozen=True, slots=True)
class QueryGradient(_Product):
    """``(dscores, K) -> dq``."""

    name = "dq"

    def values(self, where: Where, ds: Array, k: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the queries."""
        keys = self.core.expand(k)
        return (self.core.joined(ds @ keys / np.sqrt(keys.shape[-1])),)


@dataclass(frozen=True, slots=True)
class KeyGradient(_Product):
    """``(dscores, q) -> dK``, summed over the query heads that read a key head."""

    name = "dk"

    def values(self, where: Where, ds: Array, q: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the keys."""
        heads = self.core.split(q, self.core.heads)
        return (self.core.fold(ds.swapaxes(-1, -2) @ heads / np.sqrt(heads.shape[-1])),)


@dataclass(frozen=True, slots=True)
class ValueGradient(_Product):
    """``(probabilities, do) -> dV``, summed over the query heads that read a value head."""

    name = "dv"

    def values(self, where: Where, weights: Array, do: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient of the values."""
        heads = self.core.split(do, self.core.heads)
        return (self.core.fold(weights.swapaxes(-1, -2) @ heads),)
