"""Gradients of travelling weights: they grow hop by hop, and reach their owner last."""

from __future__ import annotations

from tspsim.program.axis import Axis
from tspsim.program.ledger import Slots
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.mlp import Mlp, MlpTape


class GradientRing:
    """The weight gradients of an MLP whose shards travel round a ring, in one layer's backward.

    Parameters
    ----------
    rank : Rank
    axis : Axis
    mlp : Mlp
    w : Weights
        The rank's own shard, and where its gradient is added up.
    slots : Slots
        Places for travelling gradients.
    """

    def __init__(self, rank: Rank, axis: Axis, mlp: Mlp, w: Weights, slots: Slots) -> None:
        self.rank, self.axis, self.mlp, self.w, self.slots = rank, axis, mlp, w, slots
        self._partial: Packed | None = None  # what has come from the neighbour

    def travel(self, x: Operand, dy: Operand, tape: MlpTape) -> None:
        """Add this rank's part of another rank's gradient, and send it one place further."""
        add, into = self._partial is not None, self._partial or self._fresh()
        self._gradients(x, dy, tape, into, add=add)
        (flat,) = self.axis.shift(into.flat, lane="gradients", label="dweights", into=self.slots)
        self._partial = into.over(flat)

    def arrive(self, x: Operand, dy: Operand, tape: MlpTape) -> None:
        """Add this rank's part of its own gradient, and what the others have added up."""
        self._gradients(x, dy, tape, self.w.gradient, add=True)
        if self._partial is not None:
            self.rank.add(self._partial.flat, to=self.w.gradient.flat, label="dweights")

    def _gradients(
        self, x: Operand, dy: Operand, tape: MlpTape, into: Packed, *, add: bool
    ) -> None:
        self.mlp.down_gradient(dy, tape, into, add=add)
        self.mlp.weight_gradients(x, tape.ups, into, add=add)

    def _fresh(self) -> Packed:
        value = self.w.value
        flat = self.rank.tensor("dweights", value.flat.shape, "workspace", into=self.slots)
        return value.over(flat)
