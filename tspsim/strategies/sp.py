"""Sequence (context) parallelism: tokens cut over ranks, weights replicated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.exchange import KvExchange, exchange_problems, make_exchange
from tspsim.strategies.parts.placement import Axes
from tspsim.strategies.parts.sharded import ShardedDecoder
from tspsim.strategies.parts.tokens import chunk_problems, cut_sequence, sequence_problems
from tspsim.strategies.parts.weights import Cut


class SequenceParallel(StrategyOptions):
    """Options of ``strategy: {kind: sp}``.

    Parameters
    ----------
    degree : int
        Ranks.
    kv : {"all_gather", "ring", "ulysses"}
        How queries meet the keys and values of other ranks.
    keep_gathered_kv : bool
        With all_gather: keep K and V of the whole sequence for backward.
    """

    kind: Literal["sp"] = "sp"
    degree: int = Field(ge=1)
    kv: KvExchange = "all_gather"
    keep_gathered_kv: bool = False

    @classmethod
    def choices(cls, model: ModelShape, degrees: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Return what a search varies."""
        return {"kv": get_args(KvExchange), **super().choices(model, degrees)}

    def axes(self) -> Axes:
        """Return one axis, ``sp``."""
        return (("sp", self.degree),)

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from sequence_problems(workload, "degree", self.degree)
        yield from chunk_problems(model, workload, self.degree)
        yield from exchange_problems(self.kv, self.keep_gathered_kv, Cut(model), self.degree)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        tokens = cut_sequence(rank.workload, "sp", self.degree)
        exchange = make_exchange(self.kv, rank, tokens, keep=self.keep_gathered_kv)
        ShardedDecoder(rank, Cut(rank.model), tokens, exchange).step()


STRATEGY = SequenceParallel
