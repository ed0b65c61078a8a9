"""Gradients of travelling weights: they grow hop by hop, and reach their owner last."""

from __future__ import annotations

from typing import Protocol

from tspsim.program.axis import Axis
from tspsim.program.ledger import Slots
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import Rank


class Record(Protocol):
    """Records a rank's part of the gradients of the weights at hand, added or written to `into`."""

    def __call__(self, into: Packed, *, add: bool) -> None:
        """Record it."""


class GradientRing:
    """The weight gradients of shards that travel round a ring, in one layer's backward.

    Parameters
    ----------
    rank : Rank
    axis : Axis
    w : Weights
        The rank's own shard, and where its gradient is added up.
    slots : Slots
        Places for travelling gradients.
    label : str
    """

    def __init__(
        self, rank: Rank, axis: Axis, w: Weights, slots: Slots, label: str = "dweights"
    ) -> None:
        self.rank, self.axis, self.w, self.slots, self.label = rank, axis, w, slots, label
        self._partial: Packed | None = None  # what has come from the neighbour

    def travel(self, record: Record) -> None:
        """Add this rank's part of another rank's gradient, and send it one place further."""
        add, into = self._partial is not None, self._partial or self._fresh()
        record(into, add=add)
        (flat,) = self.axis.shift(into.flat, lane="gradients", label=self.label, into=self.slots)
        self._partial = into.over(flat)

    def arrive(self, record: Record) -> None:
        """Add this rank's part of its own gradient, and what the others have added up."""
        record(self.w.gradient, add=True)
        if self._partial is not None:
            self.rank.add(self._partial.flat, to=self.w.gradient.flat, label=self.label)

    def _fresh(self) -> Packed:
        value = self.w.value
        flat = self.rank.tensor(self.label, value.flat.shape, "workspace", into=self.slots)
        return value.over(flat)
