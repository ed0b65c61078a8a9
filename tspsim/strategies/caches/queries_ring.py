"""Queries travel round a ring, and partial outputs return (ring pass-Q, arXiv 2411.01783)."""

from __future__ import annotations

from dataclasses import replace

from tspsim.program.cached import Rows
from tspsim.program.kinds.cached_attention import ByOwner
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.strategies.caches.base import CachedExchange, KvCache, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class QueriesRing(CachedExchange):
    """Queries go round in D-1 hops; what all ranks made of them goes home at once, and is merged.

    The way home waits for the last attention: it is not hidden (section 3.5.3 there, algorithm 3).
    """

    def __init__(self, rank: Rank, rows: Rows, cache: KvCache, axis: str) -> None:
        super().__init__(rank, rows, cache, axis)
        self.slots = rank.slots(2)

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record D partial attentions over D-1 hops of queries, and the all-to-all behind them."""
        assert tape.gathered is not None
        degree, q = self.axis.degree, tape.q
        first = self._core(heads, self.rows, self.cache.rows)
        parts = self._results(first, q, self._value(first, tape.gathered), degree)
        for step in range(degree):
            last = step + 1 == degree
            arriving = q if last else self.axis.shift(q, lane="q", label="q", into=self.slots)[0]
            core = self._core(heads, self.rows.shifted(-step), self.cache.rows)
            self._attention(core, q, tape.gathered, into=_turn(parts, step))
            q = arriving
        o, lse = self._by_owner(parts)
        return replace(tape, o=self._home(heads, o, lse, split=0))

    def _by_owner(self, parts: Pair) -> Pair:
        """Bring partial outputs from the order in which queries came into that of their ranks."""
        o, lse = parts
        ordered = self.rank.tensor("o", o.shape), self.rank.statistics("lse", lse.shape)
        self.rank.compute(ByOwner(self.axis.name), parts, ordered, "reorder.owner")
        return ordered


def _turn(parts: Pair, step: int) -> Pair:
    """Return the place of what a rank makes of the queries that come in a turn."""
    o, lse = (view(x, step * x.elements // x.shape[0], (1, *x.shape[1:])) for x in parts)
    return o, lse
