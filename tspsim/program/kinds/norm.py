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
