"""Sequence (context) parallelism: tokens cut over ranks, weights replicated."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from tspsim.errors import Problem
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.rank import Rank
from tspsim.program.types import Programs
from tspsim.strategies.base import StrategyOptions, one_role
from tspsim.strategies.parts.exchange import KvExchange, exchange_problems, make_exchange
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

    def mesh(self) -> Mesh:
        """Return one axis, ``sp``."""
        return Mesh((("sp", self.degree),))

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        yield from sequence_problems(workload, "degree", self.degree)
        yield from chunk_problems(model, workload, self.degree)
        yield from exchange_problems(self.kv, self.keep_gathered_kv, Cut(model), self.degree)

    def record(self, model: ModelShape, workload: Workload, optimizer: Optimizer) -> Programs:
        """Return the one program that all ranks play."""
        rank = Rank(self.mesh(), model, workload, optimizer)
        tokens = cut_sequence(workload, "sp", self.degree)
        exchange = make_exchange(self.kv, rank, tokens, keep=self.keep_gathered_kv)
        ShardedDecoder(rank, Cut(model), tokens, exchange).step()
        return one_role(rank)


STRATEGY = SequenceParallel
