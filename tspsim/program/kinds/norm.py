"""RMSNorm and LayerNorm over the hidden dim, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.types import Operand, Work

NormKind = Literal["rmsnorm", "layernorm"]
#: Keeps the root away from zero; the same in the dense model.
EPSILON = 1e-6


def normalize(x: Array, kind: NormKind) -> tuple[Array, Array]:
    """Return the normalised activations and 1/deviation, shapes [..., h] and [..., 1]."""
    centred = x - x.mean(-1, keepdims=True) if kind == "layernorm" else x
    scale = 1 / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return centred * scale, scale


@dataclass(frozen=True, slots=True)
class Norm:
    """``y = normalised(x) * w (+ b)``; the parameters are [w] or [w, b], shape (h,) or (2h,)."""

    kind: NormKind
    name = "norm"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return elementwise(inputs, outputs)

    def values(self, where: Where, x: Array, parameters: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return y, the shape of x."""
        y = normalize(x, self.kind)[0] * parameters[: x.shape[-1]]
        return (y + parameters[x.shape[-1] :] if self.kind == "layernorm" else y,)

    def text(self) -> str:
        """Return the norm's name."""
        return self.kind


@dataclass(frozen=True, slots=True)
class NormBackward:
    """``(dy, x, w, dw[, dx]) -> (dw + ..., dx)``; dx is added to when it is given.

    The parameter gradient always accumulates.
    """

    kind: NormKind
    name = "norm_backward"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return elementwise(inputs, outputs)

    def values(
        self,
        where: Where,  # noqa: ARG002
        dy: Array,
        x: Array,
        parameters: Array,
        dw: Array,
        *earlier: Array,
    ) -> tuple[Array, ...]:
        """Return dw and dx."""
        h = x.shape[-1]
        xhat, scale = normalize(x, self.kind)
        g = dy * parameters[:h]
        inner = g - xhat * (g * xhat).mean(-1, keepdims=True)
        if self.kind == "layernorm":
            inner = inner - g.mean(-1, keepdims=True)
        parts = [(dy * xhat).reshape(-1, h).sum(0)]
        if self.kind == "layernorm":
            parts.append(dy.reshape(-1, h).sum(0))
        dx = inner * scale
        return dw + np.concatenate(parts), dx + earlier[0] if earlier else dx

    def text(self) -> str:
        """Return the norm's name."""
        return f"{self.kind}_backward"


@dataclass(frozen=True, slots=True)
class SeparateNorm:
    """An RMSNorm of single tensor ops: ``(x, w) -> (y, x in fp32, normalised x)``.

    As autograd keeps them: to fp32, square, mean, root, product, back, times the weight (the
    RMSNorm of Hugging Face's Llama, and of torch before its fused kernel).
    """

    name = "norm"
    #: Bytes moved per byte of x: 2 + 4 (convert), 4 + 4 (square), 4 (mean), 4 + 4 (scale), 4 + 2
    #: (convert), 2 + 2 (weight) for two bytes an element; and the kernels of it.
    TRAFFIC, KERNELS = 18, 8

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the traffic of all kernels."""
        return Work(0, self.TRAFFIC * inputs[0].bytes, "elementwise", launches=self.KERNELS)

    def values(self, where: Where, x: Array, parameters: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return y, x and x normalised."""
        normalised = normalize(x, "rmsnorm")[0]
        return normalised * parameters, x, normalised

    def text(self) -> str:
        """Return the norm's name."""
        return "rmsnorm in single ops"


@dataclass(frozen=True, slots=True)
class SeparateNormBackward:
    """``(dy, x in fp32, normalised x, w, dw[, dx]) -> (dw + ..., dx)`` of `SeparateNorm`."""

    name = "norm_backward"
    #: Bytes moved per byte of dy: 2 + 2 (weight), 2 + 2 + 2 and 2 (its gradient), 2 + 4 (convert),
    #: 4 + 4 and 4 + 4 + 4 + 4 (scale), 4 + 4 + 4 (square), 4 + 4 + 4 (sum) and 4 + 2 (convert);
    #: and the kernels of it.
    TRAFFIC, KERNELS = 36, 13

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the traffic of all kernels."""
        return Work(0, self.TRAFFIC * inputs[0].bytes, "elementwise", launches=self.KERNELS)

    def values(
        self,
        where: Where,
        dy: Array,
        x: Array,
        normalised: Array,  # noqa: ARG002
        parameters: Array,
        dw: Array,
        *earlier: Array,
    ) -> tuple[Array, ...]:
        """Return dw and dx."""
        return NormBackward("rmsnorm").values(where, dy, x, parameters, dw, *earlier)

    def text(self) -> str:
        """Return the norm's name."""
        return "rmsnorm_backward in single ops"
