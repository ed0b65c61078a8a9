"""The gate of an MLP in single kernels: silu, product, and their gradients."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise, silu


@dataclass(frozen=True, slots=True)
class Silu(Pointwise):
    """``gate -> silu(gate)``."""

    name = "silu"

    def values(self, where: Where, gate: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return silu of the gate."""
        return (silu(gate)[0],)


@dataclass(frozen=True, slots=True)
class SiluBackward(Pointwise):
    """``(dsilu, gate) -> dgate``, written over the gate."""

    name = "silu_backward"

    def values(self, where: Where, dsilu: Array, gate: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the gate's gradient."""
        return (dsilu * silu(gate)[1],)


@dataclass(frozen=True, slots=True)
class Multiply(Pointwise):
    """``(a, b) -> a * b``."""

    name = "multiply"

    def values(self, where: Where, a: Array, b: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the product."""
        return (a * b,)
