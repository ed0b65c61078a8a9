"""One op that is several kernels: the values of the fused one, the traffic of all of them."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Operand, PerCoordinate, Work


@dataclass(frozen=True, slots=True)
class Passes:
    """A pointwise op written as single tensor ops.

    Parameters
    ----------
    kind : ComputeKind
        What they do together.
    kernels : int
        How many there are.
    per_element : float
        Bytes that they move in all per element of `counted`, per byte of an element.
    counted : int
        The input whose elements count.
    """

    kind: ComputeKind
    kernels: int
    per_element: float
    counted: int = 0

    @property
    def name(self) -> str:
        """The name of what they do together."""
        return self.kind.name

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return the traffic and the launches of all kernels."""
        work = self.kind.work(inputs, outputs)
        assert isinstance(work, Work), "pointwise work is the same on all ranks"
        traffic = round(inputs[self.counted].bytes * self.per_element)
        return work._replace(bytes=traffic, launches=self.kernels)

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return what the fused kernel does."""
        return self.kind.values(where, *arrays)

    def text(self) -> str:
        """Return the text of what they do together, and how many they are."""
        return f"{self.kind.text()} in {self.kernels} kernels"


#: ``x * cos + rotate_half(x) * sin``: two products, a negation of a half, a concatenation and a
#: sum; bytes moved per byte of x: 2 + 2, 1 + 1, 2 + 2, 2 + 2 and 4 + 2 for two bytes an element.
ROTARY_PASSES = (5, 10.0)


def rotary_passes(share: float) -> tuple[int, float]:
    """Return the kernels and their traffic where a share of x is turned.

    It is cut off, and concatenated with the rest afterwards: 2 + 2 more.
    """
    kernels, traffic = ROTARY_PASSES
    return (kernels, traffic) if share == 1 else (kernels + 1, traffic * share + 2.0)
