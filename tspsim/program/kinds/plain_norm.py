"""RMSNorm without a weight, over the last dim: of queries and keys (Llama-4)."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.norm import normalize
from tspsim.program.kinds.pointwise import Pointwise

#: Written as single ops: kernels, and bytes moved per byte of x. They are those of `SeparateNorm`
#: and its backward without the weight: 2 + 2 less, and 2 + 2 with 2 + 2 + 2 and 2.
PLAIN_PASSES, PLAIN_BACKWARD_PASSES = (7, 16.0), (10, 30.0)


@dataclass(frozen=True, slots=True)
class PlainNorm(Pointwise):
    """``x -> y``: x over its root mean square."""

    name = "plain_norm"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return y."""
        return (normalize(x, "rmsnorm")[0],)


@dataclass(frozen=True, slots=True)
class PlainNormBackward(Pointwise):
    """``(dy, x) -> dx``."""

    name = "plain_norm_backward"

    def values(self, where: Where, dy: Array, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dx."""
        y, scale = normalize(x, "rmsnorm")
        return ((dy - y * (dy * y).mean(-1, keepdims=True)) * scale,)
