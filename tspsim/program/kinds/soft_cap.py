"""A soft cap of scores or logits: ``cap * tanh(x / cap)`` (Gemma-2, arXiv 2408.00118)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.passes import Passes
from tspsim.program.kinds.pointwise import Pointwise

#: As it is written: division, tanh, product, each to a buffer of its own; and backward: what
#: autograd does of the three. Bytes moved per byte of x: 2 + 2 each, and 4 + 2 for tanh's
#: backward, for two bytes an element.
_PASSES, _BACKWARD_PASSES = (3, 6.0), (3, 7.0)


def capped(x: Array, cap: float | None) -> Array:
    """Return x below its cap; x itself where there is none."""
    return x if cap is None else cap * np.tanh(x / cap)


def slope(y: Array, cap: float | None) -> Array | float:
    """Return the slope of the cap where it has given y."""
    return 1.0 if cap is None else 1 - (y / cap) ** 2


@dataclass(frozen=True, slots=True)
class SoftCap(Pointwise):
    """``x -> x`` below its cap, written over it."""

    cap: float
    name = "soft_cap"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return x below the cap."""
        return (capped(x, self.cap),)


@dataclass(frozen=True, slots=True)
class SoftCapBackward(Pointwise):
    """``(y, dy) -> dx`` of ``y = soft_cap(x)``, written over dy."""

    cap: float
    name = "soft_cap_backward"

    def values(self, where: Where, y: Array, dy: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gradient before the cap."""
        return (dy * slope(y, self.cap),)


def soft_cap(cap: float, *, fused: bool, backward: bool = False) -> ComputeKind:
    """Return a cap, or its backward, as one kernel or as it is written."""
    if backward:
        return SoftCapBackward(cap) if fused else Passes(SoftCapBackward(cap), *_BACKWARD_PASSES)
    return SoftCap(cap) if fused else Passes(SoftCap(cap), *_PASSES)
