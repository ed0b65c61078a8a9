"""A strategy with stages of its own, from outside of tspsim, in one file.

Half of the layers lie on either stage, so ranks play two roles: one program per stage.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.program.stages import Stages
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.parts.sharded import ShardedDecoder
from tspsim.strategies.parts.stages import Least, Pipeline
from tspsim.strategies.parts.tokens import chunk_problems, whole_sequence
from tspsim.strategies.parts.weights import Cut


class TwoStages(StrategyOptions):
    """Options of ``strategy: {kind: two_stages}``.

    Parameters
    ----------
    degree : int
        Ranks of a stage: tensor parallelism inside it.
    """

    kind: Literal["two_stages"] = "two_stages"
    degree: int = Field(ge=1)

    def axes(self) -> tuple[tuple[str, int], ...]:
        """Return the axis of the stages, and that of tensor parallelism."""
        return (("pp", 2), ("tp", self.degree))

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from Cut(model, "tp", self.degree).problems("degree", False)
        yield from chunk_problems(model, workload, 1)
        if model.layers < 2:
            yield Problem(("model", "layers"), "two stages need two layers")
        if model.vocab:
            yield Problem(("model", "vocab"), "must be 0: these stages have layers alone")

    def stages(self, model: ModelShape, workload: Workload) -> tuple[Stages, ...]:
        """Return what both stages do; the first one has the odd layer."""
        half = (model.layers + 1) // 2
        pipeline = Pipeline(stages=2, schedule="gpipe", layers=(half, model.layers - half))
        return pipeline.roles(model, workload)

    @property
    def least(self) -> Least:
        """Three layers make uneven stages."""
        return Least(layers=3, micro_batches=3)

    def step(self, rank: Rank) -> None:
        """Record what one rank of a stage does."""
        tokens = whole_sequence(rank.workload)
        cut = Cut(rank.model, "tp", self.degree)
        exchange = AllGatherExchange(rank, tokens, "sp", keep=False)
        ShardedDecoder(rank, cut, tokens, exchange).step()


STRATEGY = TwoStages
