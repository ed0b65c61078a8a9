"""Heads are cut over the same ranks as cached tokens: TSP's decode, on the shards of its prefill.

A rank projects the heads of its weight shard, for all new tokens; queries of all heads are
gathered, attend to the tokens that are cached here, and partial outputs go to the owners of the
heads. No weight and nothing that is cached moves: the layout of Helix (arXiv 2507.07120).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads


class HeadsGathered(CachedExchange):
    """Queries, keys and values of new tokens by all_gather over heads, outputs by all_to_all."""

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Gather all heads of the new tokens; whoever holds a token's place writes it."""
        assert kv is not None
        cached, (k, v) = self.cache.here, kv
        if self.cache.latent:  # every rank has the latents of all new tokens
            (q,) = self.axis.all_gather(queries(), dim=0, lane="q", label="q")
            self.cache.write(k, v, self.rows, cached)
        else:
            q, k, v = self.axis.all_gather(queries(), k, v, dim=0, lane="q", label="qkv")
            self.cache.write(k, v, self.rows, cached, repeats=self.cache.repeats)
        return CoreTape(q, k, v, cached)

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Attend with all heads to what is cached here; return outputs to the heads' owners."""
        assert tape.gathered is not None
        core = self._core(heads, self.rows, self.cache.rows, self.cache.repeats)
        o, lse = self._attention(core, tape.q, tape.gathered)
        return replace(tape, o=self._home(heads, o, lse, split=0))
