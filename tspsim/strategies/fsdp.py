"""Fully sharded data parallelism: every rank has tokens of its own, and a part of all weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.parts.placement import Axes
from tspsim.strategies.parts.sharded import ShardedDecoder
from tspsim.strategies.parts.tokens import chunk_problems, whole_sequence
from tspsim.strategies.parts.weights import Cut


class FullyShardedDataParallel(StrategyOptions):
    """Options of ``strategy: {kind: fsdp, dp: 8}``: replicas, and nothing but these.

    Parameters
    ----------
    dp : int
        Ranks.
    """

    kind: Literal["fsdp"] = "fsdp"
    zero: int = Field(3, ge=0, le=3, description="what replicas share: weights too")

    def axes(self) -> Axes:
        """Return none of its own."""
        return ()

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from chunk_problems(model, workload, 1)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        tokens = whole_sequence(rank.workload)
        exchange = AllGatherExchange(rank, tokens, "sp", keep=False)
        ShardedDecoder(rank, Cut(rank.model), tokens, exchange, experts=self.make_experts).step()


STRATEGY = FullyShardedDataParallel
