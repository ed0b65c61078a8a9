"""Tensor and sequence parallelism on a two-dimensional mesh: T x S ranks."""

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


class TensorAndSequenceParallel(StrategyOptions):
    """Options of ``strategy: {kind: tp_sp}``.

    Parameters
    ----------
    tp, sp : int
        Degrees of the two axes; tp varies fastest over ranks.
    sequence_parallel, keep_gathered_kv, replicate_kv_heads : bool
        As in `tp`.
    kv : {"all_gather", "ring", "ulysses", "usp"}
        As in `sp`.
    ulysses_degree : int, optional
        As in `sp`.
    passes : {"kv", "queries"}, optional
        In inference: whether keys and values travel to the queries, those that are cached included,
        or queries to where these are, and partial outputs back. When not given: queries in decode,
        keys and values in prefill. With ``kv: ring`` round a ring.
    gather_latent : bool
        With all_gather, of latent attention: as in `tsp`.
    """

    kind: Literal["tp_sp"] = "tp_sp"
    tp: int = Field(ge=1)
    sp: int = Field(ge=1)
    sequence_parallel: bool = False
    kv: KvExchange = "all_gather"
    ulysses_degree: int | None = Field(
        None, ge=1, description="kv: usp: neighbours that exchange heads"
    )
    keep_gathered_kv: bool = False
    gather_latent: bool = False
    passes: Passes | None = Field(
        None, description="inference: what travels; null: queries in decode, else kv"
    )
    replicate_kv_heads: bool = False

    @classmethod
    def choices(cls, model: ModelShape, degrees: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Return what a search varies."""
        return {
            **searched(Cut(model, "tp", degrees["tp"]), degrees["sp"]),
            "sequence_parallel": (False, True),
            **super().choices(model, degrees),
            **gather_choices(model),
            "replicate_kv_heads": (degrees["tp"] > model.kv_heads,),
        }

    def axes(self) -> Axes:
        """Return the axes ``sp`` (outer) and ``tp`` (inner)."""
        return (("sp", self.sp), ("tp", self.tp))

    def equal(self) -> tuple[str, ...]:
        """Return the axis over which tokens alone are cut."""
        return ("sp",)

    def cuts_tokens(self, workload: Workload) -> tuple[str, ...]:  # noqa: ARG002
        """Return the axes over which tokens are cut between blocks."""
        return ("sp", "tp") if self.sequence_parallel else ("sp",)

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        cut = Cut(model, "tp", self.tp)
        yield from cut.problems("tp", self.replicate_kv_heads)
        inner = self.tp if self.sequence_parallel else 1
        yield from sequence_problems(workload, "sp", self.sp, inner=inner)
        yield from chunk_problems(model, workload, self.sp * inner)
        yield from exchange_problems(
            self.kv, self.keep_gathered_kv, cut, self.sp, self.ulysses_degree
        )
        if self.gather_latent:
            yield from gather_problems(model, self.keep_gathered_kv, self.kv)
        yield from merge_problems(workload.kernels, self.kv, self.sp, self.ulysses_degree)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        tokens = cut_sequence(rank.workload, "sp", self.sp)
        exchange = (
            ExpandedExchange(rank, tokens)
            if self.gather_latent
            else make_exchange(
                self.kv, rank, tokens, keep=self.keep_gathered_kv, neighbours=self.ulysses_degree
            )
        )
        cut, scatter = Cut(rank.model, "tp", self.tp), self.sequence_parallel
        ShardedDecoder(
            rank, cut, tokens, exchange, sequence_parallel=scatter, experts=self.make_experts
        ).step()

    def infer(self, rank: Rank) -> None:
        """Record a step of inference: the cache is cut by tokens and heads."""
        cut = Cut(rank.model, "tp", self.tp)
        way: Way = "ring" if self.kv == "ring" else "all_gather"
        exchange = make_cut(rank, cut, "sp", self.passes, way)
        ShardedDecoder(rank, cut, exchange.rows, exchange, experts=self.make_experts).step()


STRATEGY = TensorAndSequenceParallel
