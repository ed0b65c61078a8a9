"""Where a rank's activations lie in the whole batch."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.program.cached import Rows
from tspsim.program.kinds.base import Where
from tspsim.program.tokens import Tokens


@dataclass(frozen=True, slots=True)
class ActivationShard:
    """The tokens that a rank holds between blocks.

    Parameters
    ----------
    tokens : Tokens or Rows
        The tokens that it attends from.
    inner_axis : str or None
        An axis over which those are cut once more, contiguously (Megatron's sequence parallel).
    inner_degree : int
    """

    tokens: Tokens | Rows
    inner_axis: str | None = None
    inner_degree: int = 1

    def shape(self, batch: int, width: int) -> tuple[int, int, int]:
        """Return the shape of activations between blocks."""
        return (batch, self.tokens.local // self.inner_degree, width)

    def positions(self, where: Where) -> NDArray[np.int64]:
        """Return the positions of a rank's tokens, in storage order."""
        mine = self.tokens.positions(where.coordinate(self.tokens.axis))
        blocks = np.split(mine, self.inner_degree)
        return blocks[where.coordinate(self.inner_axis)]
