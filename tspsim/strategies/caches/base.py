"""A rank's cache of keys and values, and what every way of attending to it provides."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.model import ITEMSIZE, Workload
from tspsim.program.cached import Layout, Rows
from tspsim.program.kinds.cache import CacheWrite, InOrder
from tspsim.program.kinds.cached_attention import CachedAttention, CachedCore, MergeMore, MergeParts
from tspsim.program.kinds.cached_latents import LatentAttention
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Heads, Sinks
from tspsim.strategies.parts.weights import Cut

#: Keys and values.
Pair = tuple[Operand, Operand]


class KvCache:
    """Keys and values of all tokens of a rank: per layer and micro-batch two resident buffers.

    Of latent attention these are the latent of both, and the key that heads share.

    Parameters
    ----------
    rank : Rank
    cut : Cut
        How heads are cut: a group of them for every rank that has others.
    layout : Layout
        How the tokens of a sequence lie over ranks.
    everything : bool
        A rank holds all groups of heads, not its own alone.
    """

    def __init__(self, rank: Rank, cut: Cut, layout: Layout, *, everything: bool = False) -> None:
        assert rank.workload.requests is not None
        self.rank, self.requests = rank, rank.workload.requests
        self.repeats = cut.replicas if everything else 1
        self.groups = cut.degree // cut.replicas if everything else 1
        self.rows = Rows(self.requests, layout, "all")
        latent = rank.model.latent
        width = cut.kv_heads * rank.model.head_dim
        self.widths = (latent.kv_rank, latent.rope) if latent else (width, width)
        if latent:  # of all heads at once: nothing of it is cut, and all turns bring the same
            self.groups, self.repeats = 1, cut.degree if everything else 1
        count = range(rank.workload.micro_batches)
        self._held = {(n, i): self._declare(n, i) for n in rank.layers for i in count}

    def _declare(self, layer: int, micro_batch: int) -> Pair:
        dtype = self.requests.cache.dtype or self.rank.workload.dtype
        held, names = [], ("latent", "key") if self.rank.model.latent else ("k", "v")
        with self.rank.at(layer=layer):
            for name, width in zip(names, self.widths, strict=True):
                shape = (self.groups, self.rows.local, width)
                buffer = self.rank.resident(f"{name}_cache", shape, ITEMSIZE[dtype], "kv_cache")
                self.rank.bind(buffer, f"L{layer}.{name}.{micro_batch}", self.rows, "cache")
                held.append(buffer)
        return held[0], held[1]

    def of(self, layer: int) -> Pair:
        """Return keys and values of a layer, of the micro-batch at hand: all groups of heads."""
        return self._held[layer, self.rank.micro_batch]

    @property
    def latent(self) -> bool:
        """Whether what is cached are latents."""
        return self.rank.model.latent is not None

    @property
    def here(self) -> Pair:
        """Those of the layer at hand."""
        assert self.rank.layer is not None
        return self.of(self.rank.layer)

    def group(self, index: int) -> Pair:
        """Return those of one group of heads of the layer at hand."""
        k, v = (self._view(x, index) for x in self.here)
        return k, v

    def _view(self, x: Operand, index: int) -> Operand:
        _, rows, width = x.shape
        return view(x, index * rows * width, (1, rows, width))

    def write(self, k: Operand, v: Operand, rows: Rows, into: Pair, *, repeats: int = 1) -> None:
        """Put new keys and values where this rank has a place for them."""
        kind = CacheWrite(rows, self.rows, repeats)
        self.rank.compute(kind, (k, v, *into), into, "cache.write")


class CachedExchange(Exchange):
    """One way of attending to a cache. It has a forward only.

    Parameters
    ----------
    rank : Rank
    rows : Rows
        The new tokens that this rank projects.
    cache : KvCache
    axis : str
        The axis that cuts the tokens of a sequence.
    """

    cache: KvCache

    def __init__(self, rank: Rank, rows: Rows, cache: KvCache, axis: str) -> None:
        self.rank, self.rows, self.cache, self.axis = rank, rows, cache, rank.axis(axis)
        self._turn = 0

    def forward(
        self,
        heads: Heads,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Record everything between projections and the one back."""
        return self.attend(heads, self.project(queries, kv))

    def project(
        self,
        queries: Callable[[], Operand],
        kv: Pair | None,
        kept: Pair | None = None,  # noqa: ARG002
    ) -> CoreTape:
        """Record the queries' projection, writing K and V, and what has to travel: nothing."""
        assert kv is not None
        return CoreTape(queries(), *kv, self._written(kv))

    def forget(self, tape: CoreTape) -> CoreTape:
        """Return the tape: nobody reads it again."""
        return tape

    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Not there: inference has none."""
        raise NotImplementedError

    # ---- what travels of keys and values -----------------------------------------------------

    @property
    def _travels(self) -> Rows:
        """What a rank gives: all that it has cached, or the new rows where nothing else is."""
        return self.cache.rows if self.cache.requests.resumes else self.rows

    def _given(self, new: Pair, cached: Pair) -> Pair:
        """Return the keys and values of these."""
        return cached if self.cache.requests.resumes else new

    @property
    def _everyone(self) -> Rows:
        """Those of all ranks, in logical order."""
        return replace(self._travels.gathered(), ordered=True)

    def _in_order(self, arrived: Pair) -> Pair:
        """Bring what was gathered into that order."""
        k, v = (self.rank.tensor(x.buffer.name, x.shape, "workspace") for x in arrived)
        kind = InOrder(self._travels.gathered())
        self.rank.compute(kind, arrived, (k, v), "reorder.logical")
        return k, v

    # ---- shared ------------------------------------------------------------------------------

    def _core(self, heads: Heads, queries: Rows, keys: Rows, repeats: int = 1) -> CachedCore:
        rank = self.rank
        assert rank.layer is not None
        window, cap = rank.model.kind(rank.layer).window, rank.model.score_cap
        return CachedCore(heads.queries, heads.keys, queries, keys, window, cap, repeats)

    def _results(self, core: CachedCore, q: Operand, value: int, times: int = 1) -> Pair:
        """Declare output and log-sum-exp of every group of heads, and of so many queries alike."""
        shape = (times * q.shape[0], *q.shape[1:-1])
        o = self.rank.tensor("o", (*shape, core.heads * value))
        return o, self.rank.statistics("lse", (*shape, core.heads))

    def _value(self, core: CachedCore, kv: Pair) -> int:
        """Return the width of what a head sums up: of latents all of it."""
        return kv[0].shape[-1] if self.cache.latent else kv[1].shape[-1] // core.kv_heads

    def _attention(
        self,
        core: CachedCore,
        q: Operand,
        kv: Pair,
        sinks: Sinks | None = None,
        into: Pair | None = None,
    ) -> Pair:
        """Return output and log-sum-exp, of every group of heads: new ones, or where it is said.

        Sinks are in both.
        """
        results = into or self._results(core, q, self._value(core, kv))
        if self.cache.latent:
            width = self.rank.model.head_dim
            core = replace(core, kv_heads=1, repeats=q.shape[0], width=width)
            self.rank.compute(LatentAttention(core), (q, *kv), results, "attention")
            return results
        self._compute(core, q, kv, sinks, results)
        return results

    def _expanded_attention(self, core: CachedCore, q: Operand, kv: Pair) -> Pair:
        """Return the same over keys and values, whatever is cached."""
        results = self._results(core, q, kv[1].shape[-1] // core.kv_heads)
        self._compute(core, q, kv, None, results)
        return results

    def _compute(
        self, core: CachedCore, q: Operand, kv: Pair, sinks: Sinks | None, results: Pair
    ) -> None:
        kind = CachedAttention(core, self.rank.kernels.attention)
        self.rank.compute(kind, (q, *kv, *_values(sinks)), results, "attention")

    def _home(self, heads: Heads, o: Operand, lse: Operand, *, split: int) -> Operand:
        """Return partial outputs to whose queries, or heads, they are along `split`, and merge."""
        o, lse = self.axis.all_to_all(o, lse, split=split, concat=0, lane="q", label="o")
        out = self.rank.tensor("o", (1, *o.shape[1:]))
        inputs = (o, lse, *_values(heads.sinks))
        self.rank.compute(MergeParts(heads.queries), inputs, (out,), "merge")
        return out

    def _joined(self, heads: int, result: Pair, more: Pair) -> None:
        """Join a partial output into another, in place."""
        self.rank.compute(MergeMore(heads), (*result, *more), result, "merge")

    def _written(self, kv: Pair) -> Pair:
        """Write what this rank has projected of a group of heads into its cache; return that.

        Groups come one after another, and neighbours may bring the same.
        """
        cache, turn = self.cache, self._turn
        self._turn = (turn + 1) % (cache.groups * cache.repeats)
        into = cache.group(turn // cache.repeats)
        if turn % cache.repeats == 0:
            cache.write(*kv, self.rows, into)
        return into


def layout_of(workload: Workload, axis: str, degree: int) -> Layout:
    """Return how sequences lie over an axis; on one of degree 1 all is on every rank."""
    zigzag = workload.causal == "zigzag"
    return Layout(axis, degree, zigzag) if degree > 1 else Layout()


def _values(sinks: Sinks | None) -> tuple[Operand, ...]:
    return (sinks.value,) if sinks else ()
