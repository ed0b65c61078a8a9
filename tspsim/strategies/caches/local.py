"""Every rank holds all tokens of its heads: nothing travels (tensor parallelism)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class LocalCache(CachedExchange):
    """Attention to the rank's own cache."""

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
        """Record attention to what is cached, the new tokens among it."""
        assert tape.gathered is not None
        core = self._core(heads, self.rows, self.cache.rows)
        o, _ = self._attention(core, tape.q, tape.gathered, heads.sinks)
        return replace(tape, o=o)
