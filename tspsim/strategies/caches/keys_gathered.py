"""Keys and values travel, all at once: every rank gathers those of all tokens (pass-KV)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class KeysGathered(CachedExchange):
    """K/V by all_gather; of a prompt whose beginning is cached, that travels as well."""

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Write K and V, let them begin to travel, and project the queries."""
        assert kv is not None
        own = self._given(kv, self._written(kv))
        k, v = self.axis.all_gather(*own, dim=1, lane="kv", label="kv")
        return CoreTape(queries(), *kv, arriving=(k, v))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Bring them into logical order, and record attention."""
        assert tape.arriving is not None
        arrived = self._in_order(tape.arriving)
        core = self._core(heads, self.rows, self._everyone)
        o, _ = self._attention(core, tape.q, arrived, heads.sinks)
        return replace(tape, arriving=None, o=o)
