"""Megatron tensor parallelism: weights cut over ranks, activations summed after every block."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.rank import Rank
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.caches.choose import make_local
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.parts.placement import Axes
from tspsim.strategies.parts.sharded import ShardedDecoder
from tspsim.strategies.parts.tokens import chunk_problems, sequence_problems, whole_sequence
from tspsim.strategies.parts.weights import Cut


class TensorParallel(StrategyOptions):
    """Options of ``strategy: {kind: tp}``.

    Parameters
    ----------
    degree : int
        Ranks.
    sequence_parallel : bool
        Cut norms and residuals over tokens (arXiv 2205.05198): all_gather and reduce_scatter
        replace every all_reduce.
    keep_gathered_kv : bool
        Under ``recompute: full``, keep K and V of the local heads for backward.
    replicate_kv_heads : bool
        Allow more ranks than key/value heads: neighbours hold the same one.
    """

    kind: Literal["tp"] = "tp"
    degree: int = Field(ge=1)
    sequence_parallel: bool = False
    keep_gathered_kv: bool = False
    replicate_kv_heads: bool = False

    @classmethod
    def choices(cls, model: ModelShape, degrees: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Return what a search varies."""
        return {
            "sequence_parallel": (False, True),
            **super().choices(model, degrees),
            "replicate_kv_heads": (degrees["degree"] > model.kv_heads,),
        }

    def axes(self) -> Axes:
        """Return one axis, ``tp``."""
        return (("tp", self.degree),)

    def cuts_tokens(self, workload: Workload) -> tuple[str, ...]:  # noqa: ARG002
        """Return the axis, if tokens are cut over it between blocks."""
        return ("tp",) if self.sequence_parallel else ()

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from Cut(model, "tp", self.degree).problems("degree", self.replicate_kv_heads)
        cuts = self.degree if self.sequence_parallel else 1
        yield from chunk_problems(model, workload, cuts)
        if self.sequence_parallel:
            yield from sequence_problems(workload, "degree", self.degree, zigzag=False)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        tokens = whole_sequence(rank.workload)
        exchange = AllGatherExchange(rank, tokens, "sp", keep=self.keep_gathered_kv)
        cut = Cut(rank.model, "tp", self.degree)
        scatter = self.sequence_parallel
        ShardedDecoder(
            rank, cut, tokens, exchange, sequence_parallel=scatter, experts=self.make_experts
        ).step()

    def infer(self, rank: Rank) -> None:
        """Record a step of inference: the cache is cut by heads."""
        cut = Cut(rank.model, "tp", self.degree)
        exchange = make_local(rank, cut)
        ShardedDecoder(rank, cut, exchange.rows, exchange, experts=self.make_experts).step()


STRATEGY = TensorParallel
