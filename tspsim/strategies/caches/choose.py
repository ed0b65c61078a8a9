"""Chooses how new tokens meet what is in a cache."""

from __future__ import annotations

from typing import Literal

from tspsim.model import Workload
from tspsim.program.cached import Rows
from tspsim.program.rank import Rank
from tspsim.strategies.caches.base import CachedExchange, KvCache, layout_of
from tspsim.strategies.caches.heads_gathered import HeadsGathered
from tspsim.strategies.caches.keys_gathered import KeysGathered
from tspsim.strategies.caches.keys_ring import KeysRing
from tspsim.strategies.caches.latents import LatentsGathered
from tspsim.strategies.caches.local import LocalCache
from tspsim.strategies.caches.queries_gathered import QueriesGathered
from tspsim.strategies.caches.queries_ring import QueriesRing
from tspsim.strategies.parts.weights import Cut

#: What travels between ranks that hold different tokens of a sequence.
Passes = Literal["kv", "queries"]
#: How it does.
Way = Literal["all_gather", "ring"]

_EXCHANGES: dict[tuple[Passes, Way], type[CachedExchange]] = {
    ("kv", "all_gather"): KeysGathered,
    ("kv", "ring"): KeysRing,
    ("queries", "all_gather"): QueriesGathered,
    ("queries", "ring"): QueriesRing,
}


def what_passes(workload: Workload, stated: Passes | None) -> Passes:
    """Return what travels: where nothing is said, queries in decode, else keys and values."""
    assert workload.requests is not None
    return stated or ("queries" if workload.requests.decodes else "kv")


def make_local(rank: Rank, cut: Cut) -> CachedExchange:
    """Return attention to a cache that is cut by heads alone."""
    requests = rank.workload.requests
    assert requests is not None
    cache = KvCache(rank, cut, layout_of(rank.workload, "sp", 1))
    return _local(rank, cache, "sp", expands=not requests.decodes)


def make_cut(
    rank: Rank, cut: Cut, axis: str, passes: Passes | None, way: Way, *, everything: bool = False
) -> CachedExchange:
    """Return attention to a cache of which every rank of an axis holds some tokens.

    Parameters
    ----------
    rank : Rank
    cut : Cut
        How heads are cut.
    axis : str
        Cuts the tokens, cached and new.
    passes : {"kv", "queries"} or None
    way : {"all_gather", "ring"}
    everything : bool
        Heads of all ranks are cached: their weights come by.
    """
    requests = rank.workload.requests
    assert requests is not None
    layout = layout_of(rank.workload, axis, rank.axis(axis).degree)
    cache = KvCache(rank, cut, layout, everything=everything)
    passing = what_passes(rank.workload, passes)
    if layout.axis is None:
        return _local(rank, cache, axis, expands=passing == "kv")
    exchange = _EXCHANGES[passing, way]
    if cache.latent and passing == "kv":
        exchange = LatentsGathered
    return exchange(rank, Rows(requests, layout), cache, axis)


def _local(rank: Rank, cache: KvCache, axis: str, *, expands: bool) -> CachedExchange:
    """Return attention to a cache that is cut over no axis; of latents expanded, or absorbed."""
    exchange = LatentsGathered if cache.latent and expands else LocalCache
    return exchange(rank, Rows(cache.requests), cache, axis)


def make_gathered(rank: Rank, cut: Cut, axis: str) -> CachedExchange:
    """Return attention to a cache that is cut by tokens over the axis that cuts the heads, too."""
    requests = rank.workload.requests
    assert requests is not None
    layout = layout_of(rank.workload, axis, rank.axis(axis).degree)
    cache = KvCache(rank, cut, layout, everything=True)
    if layout.axis is None:
        return _local(rank, cache, axis, expands=not requests.decodes)
    return HeadsGathered(rank, Rows(requests), cache, axis)
