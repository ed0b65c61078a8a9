"""Element-wise ops: activations of the MLP, sums, biases and rotary positions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tspsim.program.activations import ActivationShard
from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand, Work

ROTARY_BASE = 10000.0


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


def biased(ins: tuple[Array, ...], count: int) -> list[Array]:
    """Return the first `count` arrays, with the others, their biases, added where there are any."""
    return [x + b for x, b in zip(ins, ins[count:] or (0.0,) * count, strict=False)]


@dataclass(frozen=True, slots=True)
class Gated(Pointwise):
    """``hidden = silu(gate) * up`` (SwiGLU, arXiv 2002.05202), after their biases when given."""

    name = "gated"

    def values(self, where: Where, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return hidden."""
        gate, up = biased(ins, 2)
        return (gate * sigmoid(gate) * up,)


@dataclass(frozen=True, slots=True)
class GatedBackward(Pointwise):
    """``(dhidden, gate, up[, biases]) -> (dgate, dup)``, written over gate and up.

    As fused kernels do. Their gradients are those of the sums with the biases too.
    """

    name = "gated_backward"

    def values(self, where: Where, dh: Array, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dgate and dup."""
        gate, up = biased(ins, 2)
        s = sigmoid(gate)
        return dh * up * s * (1 + gate * (1 - s)), dh * gate * s


@dataclass(frozen=True, slots=True)
class Gelu(Pointwise):
    """``hidden = gelu(up)`` in the tanh form (arXiv 1606.08415), after its bias when given."""

    name = "gelu"

    def values(self, where: Where, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return hidden."""
        (up,) = biased(ins, 1)
        return (0.5 * up * (1 + np.tanh(_inner(up))),)


@dataclass(frozen=True, slots=True)
class GeluBackward(Pointwise):
    """``(dhidden, up[, bias]) -> dup``, written over up."""

    name = "gelu_backward"

    def values(self, where: Where, dh: Array, *ins: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dup."""
        (up,) = biased(ins, 1)
        t = np.tanh(_inner(up))
        slope = np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * up**2)
        return (dh * (0.5 * (1 + t) + 0.5 * up * (1 - t**2) * slope),)


def _inner(x: Array) -> Array:
    return np.asarray(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))


@dataclass(frozen=True, slots=True)
class Add(Pointwise):
    """``(x, target[, bias]) -> target + x + bias``, written over the target."""

    name = "add"

    def values(self, where: Where, x: Array, target: Array, *bias: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the sum."""
        return (sum(bias, x + target),)


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
    tokens : Tokens or ActivationShard
        Positions of the rows of x: real ones, whatever the order in which a rank stores them.
    inverse : bool
        Turn back: the gradient of the rotation.
    first : int
        So many elements of each head have no positions: they stay as they are.
    """

    head_dim: int
    tokens: Tokens | ActivationShard
    inverse: bool = False
    first: int = 0
    name = "rotary"

    @property
    def turned(self) -> float:
        """The share of a head that is turned."""
        return 1 - self.first / self.head_dim

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the traffic of what is turned."""
        work = elementwise(inputs, outputs)
        return work._replace(bytes=round(work.bytes * self.turned)) if self.first else work

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:
        """Return x rotated."""
        b, s, width = x.shape
        half = (self.head_dim - self.first) // 2
        angle = self._positions(where)[:, None] * ROTARY_BASE ** (-np.arange(half) / half)
        sin = np.sin(angle)[None, :, None] * (-1 if self.inverse else 1)
        cos = np.cos(angle)[None, :, None]
        heads = x.reshape(b, s, width // self.head_dim, self.head_dim)
        stays, even, odd = np.split(heads, [self.first, self.first + half], axis=-1)
        parts = [stays, even * cos - odd * sin, even * sin + odd * cos]
        return (np.concatenate(parts, axis=-1).reshape(x.shape),)

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
