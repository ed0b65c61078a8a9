"""Queries travel to where keys and values are cached, and partial outputs back (pass-Q)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class QueriesGathered(CachedExchange):
    """Queries by all_gather, partial outputs by all_to_all, merged by their log-sum-exp.

    Nothing that is cached travels (arXiv 2411.01783, section 3.5, with an all_gather for its ring).
    """

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Project the queries, and let them begin to travel; then write K and V."""
        assert kv is not None
        q = queries()
        (everyone,) = self.axis.all_gather(q, dim=1, lane="q", label="q")
        return CoreTape(everyone, *kv, self._written(kv))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Attend to what is cached here, for everyone; return outputs to where queries are from."""
        assert tape.gathered is not None
        core = self._core(heads, self.rows.gathered(), self.cache.rows)
        o, lse = self._attention(core, tape.q, tape.gathered)
        return replace(tape, o=self._home(heads, o, lse, split=1))
