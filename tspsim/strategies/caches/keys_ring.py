"""Keys and values travel, block by block round a ring (ring pass-KV, arXiv 2411.01783)."""

from __future__ import annotations

from dataclasses import replace

from tspsim.program.cached import Rows
from tspsim.program.rank import Rank
from tspsim.strategies.caches.base import CachedExchange, KvCache, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class KeysRing(CachedExchange):
    """K/V blocks, what is cached of them included, go round in D-1 hops; outputs are merged."""

    def __init__(self, rank: Rank, rows: Rows, cache: KvCache, axis: str) -> None:
        super().__init__(rank, rows, cache, axis)
        self.slots = rank.slots(2 * 2)  # k and v each

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record D partial attentions over D-1 hops, and their merging."""
        assert tape.gathered is not None
        assert tape.k is not None and tape.v is not None
        rows, degree = self._travels, self.axis.degree
        block = self._given((tape.k, tape.v), tape.gathered)
        result: Pair | None = None
        for step in range(degree):
            arriving = block if step + 1 == degree else self._hop(block)
            core = self._core(heads, self.rows, rows.shifted(-step))
            part = self._attention(core, tape.q, block, None if step else heads.sinks)
            if result is None:
                result = part
            else:
                self._joined(heads.queries, result, part)
            block = arriving
        assert result is not None
        return replace(tape, o=result[0])

    def _hop(self, block: Pair) -> Pair:
        k, v = self.axis.shift(*block, lane="kv", label="kv", into=self.slots)
        return k, v
