"""Latent attention with a cache of latents: expanded for prompts, absorbed for single tokens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.cached import Rows
from tspsim.program.kinds.cached_latents import AbsorbQueries, ValuesOfLatents
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.caches.base import CachedExchange, Pair
from tspsim.strategies.exchanges.base import CoreTape, Heads
from tspsim.strategies.parts.latent_heads import LatentProjections
from tspsim.strategies.parts.latents import Latents
from tspsim.strategies.parts.projections import Bucket


class LatentsGathered(CachedExchange):
    """Latents travel where tokens are cut, once for all heads; K and V are expanded from them."""

    def spread(self, new: Pair) -> Pair:
        """Write new latents, once for all heads; return those of all tokens, in logical order."""
        cached = self.cache.here
        self.cache.write(*new, self.rows, cached)
        own = self._given(new, cached)
        if self.axis.degree == 1:
            return own
        kv, shared = self.axis.all_gather(*own, dim=1, lane="kv", label="latent")
        return self._in_order((kv, shared))

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Project the queries; K and V are there."""
        assert kv is not None
        return CoreTape(queries(), None, None, kv)

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention to what was expanded."""
        assert tape.gathered is not None
        rows = self._everyone if self.axis.degree > 1 else self._travels
        core = self._core(heads, self.rows, rows)
        o, _ = self._expanded_attention(core, tape.q, tape.gathered)
        return replace(tape, o=o)


class ExpandedLatents(LatentProjections):
    """Projections in front of `LatentsGathered`.

    Parameters
    ----------
    rank : Rank
    rows : Rows
        The new tokens.
    exchange : LatentsGathered
    """

    def __init__(self, rank: Rank, rows: Rows, exchange: LatentsGathered) -> None:
        super().__init__(rank, rows)
        self.exchange = exchange

    def spread(self, x: Latents) -> Latents:
        """Return the latents with those of keys and values of all tokens, cached ones included."""
        assert x.shared is not None
        return Latents(x.queries, *self.exchange.spread((x.kv, x.shared)))


class AbsorbedLatents(LatentProjections):
    """Projections on the side of the queries: see `tspsim.program.kinds.cached_latents`."""

    def queries(self, x: Latents, to: Bucket) -> Operand:
        """Return the queries of one bucket of heads, brought down to the latents' width."""
        q, w = super().queries(x, to), to.w[f"kv{to.index}"]
        heads, latent = w.shape[-1] // self.latent.up, self.latent
        out = self.rank.tensor("q", (*q.shape[:-1], heads * (latent.kv_rank + latent.rope)))
        self.rank.compute(AbsorbQueries(latent), (q, w), (out,), "absorb.q")
        return out

    def keys_values(self, x: Latents, to: Bucket) -> tuple[Operand, Operand]:  # noqa: ARG002
        """Return the new latents, as they are cached."""
        assert x.shared is not None
        return x.kv, x.shared

    def output(self, o: Operand, to: Bucket) -> Operand:
        """Bring what heads sum up of latents up to their values."""
        w, latent = to.w[f"kv{to.index}"], self.latent
        out = self.rank.tensor("o", (*o.shape[:-1], w.shape[-1] // latent.up * latent.value))
        self.rank.compute(ValuesOfLatents(latent), (o, w), (out,), "values.o")
        return out
