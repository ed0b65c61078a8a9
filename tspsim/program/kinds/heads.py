"""Key/value heads repeated for ranks that each need one, and gradients summed over the repeats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise


@dataclass(frozen=True, slots=True)
class RepeatHeads(Pointwise):
    """Every head, [batch, tokens, heads * d], stands `times` times in a row.

    Parameters
    ----------
    heads, times : int
    """

    heads: int
    times: int
    name = "repeat_heads"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the arrays, wider."""
        return tuple(self._repeated(x) for x in arrays)

    def _repeated(self, x: Array) -> Array:
        b, s, width = x.shape
        heads = x.reshape(b, s, self.heads, width // self.heads)
        return heads.repeat(self.times, axis=2).reshape(b, s, width * self.times)


@dataclass(frozen=True, slots=True)
class SumHeads(Pointwise):
    """The sum over the repeats of every head: the backward of `RepeatHeads`.

    Parameters
    ----------
    heads, times : int
    """

    heads: int
    times: int
    name = "sum_heads"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the arrays, as narrow as before."""
        return tuple(self._summed(x) for x in arrays)

    def _summed(self, x: Array) -> Array:
        b, s, width = x.shape
        repeats = x.reshape(b, s, self.heads, self.times, -1)
        return np.asarray(repeats.sum(3)).reshape(b, s, width // self.times)
