"""Norms of whole queries and keys that come some heads at a time, turn by turn."""

from __future__ import annotations

from tspsim.program.kinds.cut_norm import CutNorm, CutNormBackward, Products, Squares
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.strategies.parts.head_norms import Saved


class TurnNorms:
    """Sums over the heads of all turns, one number per token; then the norm of each turn's heads.

    Where neighbours hold the same key heads these come as often as they are held: their mean square
    is the same, and each copy has the gradient of its own readers, which add up.

    Parameters
    ----------
    rank : Rank
    turns : int
        In which the heads come.
    """

    def __init__(self, rank: Rank, turns: int) -> None:
        self.rank, self.turns = rank, turns

    def squares(self, x: Operand, which: str, add_to: Operand | None) -> Operand:
        """Return the sums of squares of the heads so far."""
        return self._sum(Squares(), (x,), f"norm.{which}", add_to)

    def products(
        self, dy: Operand, saved: Saved, w: Weights, place: tuple[str, int], add_to: Operand | None
    ) -> Operand:
        """Return the sums that backward needs, of the heads so far."""
        weight = self._of(w.value, *place, dy.shape[-1])
        inputs = (dy, *saved, weight)
        return self._sum(Products(self.turns), inputs, f"dnorm.{place[0]}", add_to)

    def _sum(
        self,
        kind: Squares | Products,
        inputs: tuple[Operand, ...],
        label: str,
        add_to: Operand | None,
    ) -> Operand:
        sums = add_to or self.rank.statistics(kind.name, (*inputs[0].shape[:-1], 1))
        self.rank.compute(kind, (*inputs, *([add_to] if add_to else [])), (sums,), label)
        return sums

    def forward(self, saved: Saved, w: Weights, place: tuple[str, int]) -> Operand:
        """Return q or k of one turn with its norm, from the product and the squares of all turns.

        `place` is "q" or "k", and which part of the norm's weight these heads have.
        """
        x, squares = saved
        label = f"norm.{place[0]}"
        weight, out = self._of(w.value, *place, x.shape[-1]), self.rank.tensor(label, x.shape)
        self.rank.compute(CutNorm(self.turns), (x, squares, weight), (out,), label)
        return out

    def backward(
        self, dy: Operand, saved: Saved, products: Operand, w: Weights, place: tuple[str, int]
    ) -> Operand:
        """Return the gradient before the norm of one turn; that of its weight is added up."""
        label, width = f"norm.{place[0]}", dy.shape[-1]
        value, gradient = (self._of(pack, *place, width) for pack in (w.value, w.gradient))
        dx = self.rank.tensor(label, dy.shape)
        inputs = (dy, *saved, products, value, gradient)
        self.rank.compute(CutNormBackward(self.turns), inputs, (gradient, dx), f"d{label}")
        return dx

    @staticmethod
    def _of(pack: Packed, which: str, block: int, width: int) -> Operand:
        """Return a turn's part of a norm's weight."""
        return view(pack[f"{which}_norm"], block * width, (width,))
