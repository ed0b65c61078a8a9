"""Every rank holds all tokens of its heads: nothing travels (tensor parallelism)."""

from __future__ import annotations

from dataclasses import replace

from tspsim.strategies.caches.base import CachedExchange
from tspsim.strategies.exchanges.base import CoreTape, Heads


class LocalCache(CachedExchange):
    """Attention to the rank's own cache."""

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention to what is cached, the new tokens among it."""
        assert tape.gathered is not None
        core = self._core(heads, self.rows, self.cache.rows)
        o, _ = self._attention(core, tape.q, tape.gathered, heads.sinks)
        return replace(tape, o=o)
