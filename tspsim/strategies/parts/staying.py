"""TSP's decode: every rank multiplies all new tokens by its own shard, and no weight moves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.program.kinds.cache import TakeColumns
from tspsim.program.types import Operand
from tspsim.strategies.parts.head_norms import Saved, Together
from tspsim.strategies.parts.latent_down import CutDown, Down, DownTape
from tspsim.strategies.parts.layers import LayerWeights
from tspsim.strategies.parts.projections import Projections
from tspsim.strategies.parts.sharded import ShardedDecoder


class StayingDecoder(ShardedDecoder):
    """A decoder on the shards that TSP's prefill leaves, with all new tokens on every rank."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        if self.cut.in_turns and isinstance(self.projections, Projections):
            self.projections.norms = StayingNorms(self.rank, self.tp)

    def _down(self) -> Down:
        return StayingDown(self.rank, self.place, self.tp)


class StayingNorms(Together):
    """Norms of whole queries and keys, of which a rank has some heads and the whole weight."""

    def _forward(self, x: Operand, w: Operand, label: str) -> tuple[Operand, Saved]:
        own, width = w, x.shape[-1]
        parts = w.shape[-1] // width
        if parts > 1:
            own = self.rank.tensor(f"{label}.weight", (width,))
            kind = TakeColumns(self.axis.name, parts, self.axis.degree // parts)
            self.rank.compute(kind, (w,), (own,), f"{label}.weight")
        return super()._forward(x, own, label)


class StayingDown(CutDown):
    """The ways down where a rank has some rows of each matrix, and keeps them.

    It multiplies the columns of the stream that these belong to; latents are summed over ranks.
    """

    def bring(self, w: LayerWeights) -> Mapping[str, Operand]:
        """Return the rank's own rows, by name."""
        assert w.down is not None
        return {part.name: own for part, own in w.down.value.views()}

    def forward(self, x: Operand, w: LayerWeights, matrices: Mapping[str, Operand]) -> DownTape:
        """Return the latents of all new tokens."""
        rank, axis = self.rank, self.axis
        own = x
        if axis.degree > 1:
            own = rank.tensor("x_columns", (*x.shape[:-1], x.shape[-1] // axis.degree))
            rank.compute(TakeColumns(axis.name, axis.degree), (x,), (own,), "columns")
        downs = [rank.matmul(own, matrix, name[1:]) for name, matrix in matrices.items()]
        axis.all_reduce(*downs, lane="latent", label="latent")
        return self.latents(x, dict(zip(matrices, downs, strict=True)).__getitem__, w)
