"""Queries travel round a ring, and partial outputs return (ring pass-Q, arXiv 2411.01783)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.cached import Rows
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, KvCache, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class QueriesRing(CachedExchange):
    """Queries go round in D-1 hops; what each rank makes of them goes back, and is merged."""

    def __init__(self, rank: Rank, rows: Rows, cache: KvCache, axis: str) -> None:
        super().__init__(rank, rows, cache, axis)
        self.slots, self.returns = rank.slots(2), rank.slots(2 * 2)  # o and lse each

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Write K and V, and project the queries."""
        assert kv is not None
        return CoreTape(queries(), *kv, self._written(kv))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record D partial attentions over D-1 hops of queries, and the way back of each."""
        assert tape.gathered is not None
        degree, q = self.axis.degree, tape.q
        result: Pair | None = None
        for step in range(degree):
            last = step + 1 == degree
            arriving = q if last else self.axis.shift(q, lane="q", label="q", into=self.slots)[0]
            core = self._core(heads, self.rows.shifted(-step), self.cache.rows)
            o, lse = self._attention(core, q, tape.gathered, None if step else heads.sinks)
            if result is None:
                result = o, lse
            else:
                self._joined(heads.queries, result, self._back(o, lse, step))
            q = arriving
        assert result is not None
        return replace(tape, o=result[0])

    def _back(self, o: Operand, lse: Operand, step: int) -> Pair:
        """Return to its owner what was made of a query that has come so many hops."""
        into, offset = self.returns, -step
        o, lse = self.axis.shift(o, lse, lane="o", label="o", into=into, offset=offset)
        return o, lse
