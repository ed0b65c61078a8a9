"""Tokens travel to experts that are cut as well: expert parallel and expert tensor parallel.

Rows go to the ranks of their experts by an all-to-all. Those of them that hold columns of the same
experts gather what has come to each, multiply all of it, and each gets the sum of its own rows
back (Megatron-Core's alltoall dispatcher with ETP; arXiv 2504.14960, section 3.3).
"""

from __future__ import annotations

from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Part
from tspsim.program.rank import Rank
from tspsim.program.rows import varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import ExpertMlp
from tspsim.strategies.experts.tokens import TokensTravel
from tspsim.strategies.experts.travelling import Route
from tspsim.strategies.parts.weights import expert_parts


class TokensTravelCut(TokensTravel):
    """A row for every token and expert of it, and columns of every expert.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    here, travel : tuple of str
    cut : tuple of str
        The axes that experts are cut over: ranks along them hold different tokens.
    pieces : int
    """

    def __init__(
        self,
        rank: Rank,
        place: ActivationShard,
        here: tuple[str, ...],
        travel: tuple[str, ...],
        cut: tuple[str, ...],
        pieces: int = 1,
    ) -> None:
        super().__init__(rank, place, here, travel, pieces)
        self.cut_over, self.columns = cut, rank.axis(cut)
        self.sources *= self.columns.degree

    @property
    def apart(self) -> tuple[str, ...]:
        """The axes along which ranks hold different parts of the experts."""
        return (*self.over, *self.cut_over)

    def parts(self) -> list[Part]:
        """Return columns of whole experts."""
        over, ways = self.over or None, self.columns.degree
        return expert_parts(
            self.rank.model, over, self.degree, columns=False, cut=self.cut_over, ways=ways
        )

    def _mlp(self, route: Route) -> ExpertMlp:
        block = varying(self.cut_over, range(self.columns.degree))
        return ExpertMlp(self.rank, route.groups, block)

    def _to_experts(self, *rows: Operand, route: Route, label: str) -> tuple[Operand, ...]:
        """Send rows to the ranks of their experts, where each gathers the others' too."""
        rows = super()._to_experts(*rows, route=route, label=label)
        return self.columns.all_gather(*rows, dim=0, lane="columns", label=f"{label}.gather")

    def _from_experts(self, *rows: Operand, route: Route, label: str) -> tuple[Operand, ...]:
        """Add up over columns, and send rows back to where they came from."""
        rows = self.columns.reduce_scatter(*rows, dim=0, lane="columns", label=f"{label}.sum")
        return super()._from_experts(*rows, route=route, label=label)
