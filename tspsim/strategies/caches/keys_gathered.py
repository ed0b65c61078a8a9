"""Keys and values travel, all at once: every rank gathers those of all tokens (pass-KV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.cached import Rows
from tspsim.program.kinds.cache import InOrder
from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class KeysGathered(CachedExchange):
    """K/V by all_gather; of a prompt whose beginning is cached, that travels as well."""

    @property
    def _travels(self) -> Rows:
        """What a rank gives: all that it has cached, or the new rows where nothing else is."""
        return self.cache.rows if self.cache.requests.resumes else self.rows

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Write K and V, let them begin to travel, and project the queries."""
        assert kv is not None
        cached = self._written(kv)
        own = cached if self.cache.requests.resumes else kv
        k, v = self.axis.all_gather(*own, dim=1, lane="kv", label="kv")
        return CoreTape(queries(), *kv, arriving=(k, v))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Bring them into logical order, and record attention."""
        assert tape.arriving is not None
        rows, arrived = self._travels.gathered(), tape.arriving
        if self.axis.degree > 1:
            arrived = self._ordered(rows, arrived)
            rows = replace(rows, ordered=True)
        core = self._core(heads, self.rows, rows)
        o, _ = self._attention(core, tape.q, arrived, heads.sinks)
        return replace(tape, arriving=None, o=o)

    def _ordered(self, rows: Rows, arrived: Pair) -> Pair:
        k, v = (self.rank.tensor(x.buffer.name, x.shape, "workspace") for x in arrived)
        self.rank.compute(InOrder(rows), arrived, (k, v), "reorder.logical")
        return k, v
