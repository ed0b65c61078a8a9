"""The gradient of attention's sinks, a number per head in every softmax."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.attention import Core, by_head
from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import Operand, Work

#: Statistics of a row are kept in single precision.
_ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class SinksGradient:
    """``(do, o, kept, sinks[, dsinks]) -> dsinks``: minus sums of a sink's share times do * o.

    What is kept is the log-sum-exp of the whole softmax, sinks included; or, of an attention that
    keeps probabilities, these: what they lack of 1 is the sink's share.

    Parameters
    ----------
    core : Core
        The heads on this rank.
    fused : bool
        A flash kernel's own part: in its backward one kernel sums do * o of every row anyway, and
        reads the log-sum-exp beside. Otherwise one more kernel over as much.
    """

    core: Core
    fused: bool = True
    name = "sinks_gradient"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that two numbers per head and query are read; sums over them are a few bytes."""
        batch, queries, _ = inputs[0].shape
        rows = 2 * batch * queries * self.core.heads * _ITEMSIZE
        small = sum(o.bytes for o in (*inputs[3:], *outputs))
        return Work(0, rows + small, "elementwise", launches=0 if self.fused else 1)

    def values(
        self,
        where: Where,  # noqa: ARG002
        do: Array,
        o: Array,
        kept: Array,
        sinks: Array,
        *earlier: Array,
    ) -> tuple[Array, ...]:
        """Return the sums, added to earlier ones if there are any."""
        heads = self.core.heads
        rows = (self.core.split(do, heads) * self.core.split(o, heads)).sum(-1)
        share = np.exp(by_head(sinks)[..., 0] - kept) if self.fused else 1 - kept.sum(-1)
        return (sum(earlier, -(share * rows).sum((0, 2))),)

    def text(self) -> str:
        """Return the name."""
        return self.name
