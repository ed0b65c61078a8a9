"""Sequence (context) parallelism: tokens cut over ranks, weights replicated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.caches.choose import Passes, Way, make_cut
from tspsim.strategies.exchanges.expanded import ExpandedExchange
from tspsim.strategies.parts.exchange import (
    KvExchange,
    exchange_problems,
    make_exchange,
    merge_problems,
    searched,
)
from tspsim.strategies.parts.latent_heads import gather_choices, gather_problems
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
    kv : {"all_gather", "ring", "ulysses", "usp"}
        How queries meet the keys and values of other ranks.
    ulysses_degree : int, optional
        With usp, which needs it: ranks that exchange heads; a ring leads from one block of so many
        neighbours to the next.
    keep_gathered_kv : bool
        With all_gather: keep K and V of the whole sequence for backward.
    passes : {"kv", "queries"}, optional
        In inference: whether keys and values travel to the queries, those that are cached included,
        or queries to where these are, and partial outputs back. When not given: queries in decode,
        keys and values in prefill. With ``kv: ring`` round a ring.
    gather_latent : bool
        With all_gather, of latent attention: as in `tsp`.
    """

    kind: Literal["sp"] = "sp"
    degree: int = Field(ge=1)
    kv: KvExchange = "all_gather"
    ulysses_degree: int | None = Field(
        None, ge=1, description="kv: usp: neighbours that exchange heads"
    )
    keep_gathered_kv: bool = False
    gather_latent: bool = False
    passes: Passes | None = Field(
        None, description="inference: what travels; null: queries in decode, else kv"
    )

    @classmethod
    def choices(cls, model: ModelShape, degrees: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Return what a search varies."""
        return {
            **searched(Cut(model), degrees["degree"]),
            **super().choices(model, degrees),
            **gather_choices(model),
        }

    def axes(self) -> Axes:
        """Return one axis, ``sp``."""
        return (("sp", self.degree),)

    def equal(self) -> tuple[str, ...]:
        """Return the axis over which tokens alone are cut."""
        return ("sp",)

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from sequence_problems(workload, "degree", self.degree)
        yield from chunk_problems(model, workload, self.degree)
        yield from exchange_problems(
            self.kv, self.keep_gathered_kv, Cut(model), self.degree, self.ulysses_degree
        )
        if self.gather_latent:
            yield from gather_problems(model, self.keep_gathered_kv, self.kv)
        yield from merge_problems(workload.kernels, self.kv, self.degree, self.ulysses_degree)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        tokens = cut_sequence(rank.workload, "sp", self.degree)
        exchange = (
            ExpandedExchange(rank, tokens)
            if self.gather_latent
            else make_exchange(
                self.kv, rank, tokens, keep=self.keep_gathered_kv, neighbours=self.ulysses_degree
            )
        )
        ShardedDecoder(rank, Cut(rank.model), tokens, exchange, experts=self.make_experts).step()

    def infer(self, rank: Rank) -> None:
        """Record a step of inference: the cache is cut by tokens."""
        cut = Cut(rank.model)
        way: Way = "ring" if self.kv == "ring" else "all_gather"
        exchange = make_cut(rank, cut, "sp", self.passes, way)
        ShardedDecoder(rank, cut, exchange.rows, exchange, experts=self.make_experts).step()


STRATEGY = SequenceParallel
