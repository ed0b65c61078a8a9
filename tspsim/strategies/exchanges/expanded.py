"""Every rank has K and V of the whole sequence: expanded from latents that were gathered."""

from __future__ import annotations

from dataclasses import replace

from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.exchanges.base import CoreTape, Expand

#: An axis that no mesh has: of one rank, over which nothing travels.
_NOWHERE = "none"


class ExpandedExchange(AllGatherExchange):
    """Nothing of K and V travels, and nothing of them is kept: backward expands them again.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        This rank's tokens.
    """

    def __init__(self, rank: Rank, tokens: Tokens) -> None:
        super().__init__(rank, tokens, _NOWHERE, keep=False)

    def forget(self, tape: CoreTape) -> CoreTape:
        """Return the tape without K and V."""
        return replace(tape, k=None, v=None, gathered=None)

    def gather(self, tape: CoreTape, expand: Expand) -> CoreTape:
        """Expand K and V once more."""
        with self.rank.at(phase="recompute"):
            return replace(tape, gathered=expand())
