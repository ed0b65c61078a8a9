"""Element-wise ops: activations of the MLP, sums, biases and rotary positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tspsim.program.activations import ActivationShard
from tspsim.program.cached import Rows
from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand, Work

ROTARY_BASE = 10000.0
#: What a gate is put through.
Gate = Literal["silu", "gelu"]


class Pointwise:
    """Work and text of an op whose time is its memory traffic."""

    __slots__ = ()
    name: str

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return elementwise(inputs, outputs)

    def text(self) -> str:
        """Return the name."""
        return self.name


def sigmoid(x: Array) -> Array:
    """Return the logistic function."""
    return np.asarray(1 / (1 + np.exp(-x)))


def silu(x: Array) -> tuple[Array, Array]:
    """Return silu of x, and its slope there."""
    s = sigmoid(x)
    return x * s, s * (1 + x * (1 - s))


def gelu(x: Array) -> tuple[Array, Array]:
    """Return gelu of x in the tanh form (arXiv 1606.08415), and its slope there."""
    t = np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))
    inner = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x**2)
    return 0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t**2) * inner


def biased(ins: tuple[Array, ...], count: int) -> list[Array]:
    """Return the first `count` arrays, with the others, their biases, added where there are any."""
    return [x + b for x, b in zip(ins, ins[count:] or (0.0,) * count, strict=False)]


@dataclass(frozen=True, slots=True)
class Gated(Pointwise):
    """``hidden = silu(gate) * up`` or ``gelu(gate) * up``, after their biases when given.

    SwiGLU and GeGLU (arXiv 2002.05202).
    """

    gate: Gate = "silu"
    name = "gated"

    def values(self, where: Where, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return hidden."""
        gate, up = biased(ins, 2)
        return ((silu if self.gate == "silu" else gelu)(gate)[0] * up,)


@dataclass(frozen=True, slots=True)
class GatedBackward(Pointwise):
    """``(dhidden, gate, up[, biases]) -> (dgate, dup)``, written over gate and up.

    As fused kernels do. Their gradients are those of the sums with the biases too.
    """

    gate: Gate = "silu"
    name = "gated_backward"

    def values(self, where: Where, dh: Array, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dgate and dup."""
        gate, up = biased(ins, 2)
        active, slope = (silu if self.gate == "silu" else gelu)(gate)
        return dh * up * slope, dh * active


@dataclass(frozen=True, slots=True)
class Gelu(Pointwise):
    """``hidden = gelu(up)`` in the tanh form (arXiv 1606.08415), after its bias when given."""

    name = "gelu"

    def values(self, where: Where, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return hidden."""
        (up,) = biased(ins, 1)
        return (gelu(up)[0],)


@dataclass(frozen=True, slots=True)
class GeluBackward(Pointwise):
    """``(dhidden, up[, bias]) -> dup``, written over up."""

    name = "gelu_backward"

    def values(self, where: Where, dh: Array, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dup."""
        (up,) = biased(ins, 1)
        return (dh * gelu(up)[1],)


@dataclass(frozen=True, slots=True)
class Add(Pointwise):
    """``(x, target[, bias]) -> target + x + bias``, written over the target."""

    name = "add"

    def values(self, where: Where, x: Array, target: Array, *bias: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the sum."""
        return (sum(bias, x + target),)


@dataclass(frozen=True, slots=True)
class Scale(Pointwise):
    """``x -> factor * x``, written over x."""

    factor: float
    name = "scale"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the product."""
        return (x * self.factor,)


@dataclass(frozen=True, slots=True)
class Bias(Pointwise):
    """``(b, x) -> x + b``, written over x."""

    name = "bias"

    def values(self, where: Where, b: Array, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return x with the bias added."""
        return (x + b,)


@dataclass(frozen=True, slots=True)
class BiasGradient(Pointwise):
    """``(dy[, db]) -> db``: the sum of dy over batch and tokens, added to db when it is given."""

    name = "bias_gradient"

    def values(self, where: Where, dy: Array, *earlier: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the bias gradient."""
        total = dy.reshape(-1, dy.shape[-1]).sum(0)
        return (total + earlier[0] if earlier else total,)


@dataclass(frozen=True, slots=True)
class Rotary(Pointwise):
    """Rotates every head of x in place by its tokens' positions (RoPE, arXiv 2104.09864).

    Parameters
    ----------
    head_dim : int
    tokens : Tokens, Rows or ActivationShard
        Positions of the rows of x: real ones, whatever the order in which a rank stores them.
    inverse : bool
        Turn back: the gradient of the rotation.
    turned : range or None
        The elements of each head that are rotated; the others are not touched. None: all.
    """

    head_dim: int
    tokens: Tokens | Rows | ActivationShard
    inverse: bool = False
    turned: range | None = None
    name = "rotary"

    @property
    def span(self) -> range:
        """The elements of a head that are rotated."""
        return self.turned or range(self.head_dim)

    @property
    def share(self) -> float:
        """The share of x that is rotated."""
        return len(self.span) / self.head_dim

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the memory traffic of what is rotated."""
        whole = elementwise(inputs, outputs)
        return whole._replace(bytes=round(whole.bytes * self.share)) if self.turned else whole

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:
        """Return x rotated."""
        b, s, width = x.shape
        half = len(self.span) // 2
        middle = self.span.start + half
        angle = self._positions(where)[:, None] * ROTARY_BASE ** (-np.arange(half) / half)
        sin = np.sin(angle)[None, :, None] * (-1 if self.inverse else 1)
        cos = np.cos(angle)[None, :, None]
        heads = x.reshape(b, s, width // self.head_dim, self.head_dim)
        even, odd = heads[..., self.span.start : middle], heads[..., middle : self.span.stop]
        turned = heads.copy()
        turned[..., self.span.start : middle] = even * cos - odd * sin
        turned[..., middle : self.span.stop] = even * sin + odd * cos
        return (turned.reshape(x.shape),)

    def _positions(self, where: Where) -> Array:
        if isinstance(self.tokens, ActivationShard):
            return self.tokens.positions(where)
        return self.tokens.positions(where.coordinate(self.tokens.axis))


@dataclass(frozen=True, slots=True)
class Reorder(Pointwise):
    """Brings gathered tokens from rank order into logical order, or back.

    An all_gather stores the blocks of rank 0, 1, ... one after another; with zigzag shards that
    is not the order of the sequence. With contiguous shards there is nothing to do.

    Parameters
    ----------
    tokens : Tokens
        How the sequence is cut.
    direction : {"logical", "gathered"}
        The order of the output.
    """

    tokens: Tokens
    direction: Literal["logical", "gathered"]
    name = "reorder"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the arrays with dim 1 reordered."""
        order = self.tokens.gathered()
        if self.direction == "logical":
            order = np.argsort(order)
        return tuple(x[:, order] for x in arrays)
