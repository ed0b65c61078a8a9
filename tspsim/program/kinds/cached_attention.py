"""Attention of new tokens to a cache, and merging what several ranks' caches gave."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tspsim.program.cached import Rows, seen, together, twice_pairs
from tspsim.program.kinds.attention import MergeAttention, softmaxed
from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.kinds.soft_cap import capped
from tspsim.program.types import Operand, PerCoordinate, Work


@dataclass(frozen=True, slots=True)
class CachedCore:
    """Who attends to whom.

    Parameters
    ----------
    heads, kv_heads : int
        Of one group of heads: query head i reads key/value head ``i // (heads / kv_heads)``.
    queries, keys : Rows
        Which tokens the rows of q, and of K and V, are.
    window : int or None
        Leave out the pairs that are so many places apart, or more.
    cap : float or None
        A soft cap of the scores.
    repeats : int
        So many groups of queries, one after another, read one group of keys.
    width : int
        Of a key, as scores are scaled by its root; as wide as it is where it is 0.
    """

    heads: int
    kv_heads: int
    queries: Rows
    keys: Rows
    window: int | None = None
    cap: float | None = None
    repeats: int = 1
    width: int = 0

    @property
    def axis(self) -> str | None:
        """The axis on whose coordinate the work depends."""
        return self.queries.axis or self.keys.axis

    def twice_pairs(self, coordinate: int) -> int:
        """Return twice the (query, key) pairs of one head over all sequences."""
        there = together(self.queries, self.keys, coordinate)
        return sum(times * twice_pairs(asks, has, self.window) for asks, has, times in there)

    def read(self, coordinate: int) -> int:
        """Return the keys of all sequences that some query of theirs reads."""
        there = together(self.queries, self.keys, coordinate)
        return sum(times * seen(asks, has, self.window) for asks, has, times in there)

    def mask(self, where: Where) -> Array:
        """Return which pairs count, shape (queries, keys)."""
        coordinate = where.coordinate(self.axis)
        asks, has = self.queries.entries(coordinate), self.keys.entries(coordinate)
        distance = asks.position[:, None] - has.position[None, :]
        same = asks.request[:, None] == has.request[None, :]
        there = (asks.position >= 0)[:, None] & (has.position >= 0)[None, :]
        return np.asarray(same & there & (distance >= 0) & (distance < (self.window or np.inf)))

    def split(self, x: Array, heads: int) -> Array:
        """Return [groups, tokens, heads * d] as [groups, heads, tokens, d]."""
        groups, tokens, width = x.shape
        return x.reshape(groups, tokens, heads, width // heads).transpose(0, 2, 1, 3)

    def expand(self, x: Array) -> Array:
        """Return keys or values repeated for every query head of every group."""
        heads = np.repeat(self.split(x, self.kv_heads), self.heads // self.kv_heads, axis=1)
        return np.repeat(heads, self.repeats, axis=0)

    def text(self, name: str) -> str:
        """Return the name with its heads and mask."""
        mask = f", window {self.window}" if self.window else ""
        mask += f", cap {self.cap:g}" if self.cap else ""
        return f"{name}({self.heads}/{self.kv_heads} heads, cache{mask})"


@lru_cache(maxsize=4096)
def attention_work(
    core: CachedCore, kernel: str, widths: tuple[int, int], groups: int, bytes_: tuple[int, float]
) -> Work | PerCoordinate:
    """Return two products over the pairs; widths of one head's keys and values.

    `bytes_` are those of queries and outputs, and of one key and value of all heads.
    """
    heads, kv_heads = core.heads * groups, core.kv_heads * groups // core.repeats
    each = core.queries.requests.each
    sequences = len(each)
    # Decode reads the cache as fast as memory gives it; a prompt's kernel is another one.
    single = max(request.new for request in each) == 1
    curve, kernel = ("cached_attention", "") if single else ("attention", kernel)

    def at(coordinate: int) -> Work:
        pairs, keys = core.twice_pairs(coordinate), core.read(coordinate)
        traffic = bytes_[0] + round(keys * bytes_[1]) if pairs else 0
        mean = -(-core.queries.local // sequences), -(-keys // sequences)
        shape = (sequences, heads, kv_heads, *mean, widths[0], 1, widths[1])
        return Work(pairs * heads * sum(widths), traffic, curve, shape, kernel=kernel)

    if core.axis is None:
        return at(0)
    works = tuple(at(c) for c in range(max(core.queries.degree, core.keys.degree)))
    return works[0] if len(set(works)) == 1 else PerCoordinate(core.axis, works)


@dataclass(frozen=True, slots=True)
class CachedAttention:
    """``(q, K, V[, sinks]) -> (o, lse)`` over rows of several sequences.

    Rows are [groups of heads, rows, width], sinks a number per head.

    The log-sum-exp of the scores is [groups, rows, heads]: it travels beside the output.

    Parameters
    ----------
    core : CachedCore
    kernel : str
        Which of several kernels computes a prompt's.
    """

    core: CachedCore
    kernel: str = ""
    name = "attention"

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return the products over the pairs, and the keys and values that are read."""
        q, k, v, *_ = inputs
        groups, core = q.shape[0], self.core
        widths = q.shape[-1] // core.heads, v.shape[-1] // core.kv_heads
        small = q.bytes + sum(o.bytes for o in outputs)
        per_token = k.shape[0] * (k.shape[-1] * k.buffer.itemsize + v.shape[-1] * v.buffer.itemsize)
        return attention_work(core, self.kernel, widths, groups, (small, per_token))

    def values(
        self, where: Where, q: Array, k: Array, v: Array, *sinks: Array
    ) -> tuple[Array, ...]:
        """Return o, as wide as values are, and lse; a query with no key gives 0 and -inf."""
        core = self.core
        qh, kh, vh = core.split(q, core.heads), core.expand(k), core.expand(v)
        scale = np.sqrt(core.width or qh.shape[-1])
        scores = capped(qh @ kh.swapaxes(-1, -2) / scale, core.cap)
        o, lse = softmaxed(np.where(core.mask(where), scores, -np.inf), vh, *sinks)
        groups, heads, tokens, wide = o.shape
        o = o.transpose(0, 2, 1, 3).reshape(groups, tokens, heads * wide)
        return o, lse[..., 0].transpose(0, 2, 1)

    def text(self) -> str:
        """Return heads and mask."""
        return self.core.text(self.name)


@dataclass(frozen=True, slots=True)
class ByOwner:
    """``(o, lse) -> (o, lse)``: what was made of queries that came one rank after another.

    In turn t they are of the rank t places back; the result has those of rank r in place r.

    Parameters
    ----------
    axis : str
    """

    axis: str
    name = "reorder"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return elementwise(inputs, outputs)

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the parts by rank."""
        here, count = where.coordinate(self.axis), len(arrays[0])
        turns = [(here - rank) % count for rank in range(count)]
        return tuple(x[turns] for x in arrays)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class MergeParts:
    """``(o, lse[, sinks]) -> o``: joins partial softmaxes of the same queries.

    They are [parts, rows, width]; sinks, a number per head, are in the joined softmax alone.

    Each weighs as much as the exponential of its log-sum-exp [parts, rows, heads]: the split-K step
    of Flash-Decoding, between ranks (Helix, arXiv 2507.07120).
    """

    heads: int
    name = "merge_attention"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return memory traffic only."""
        return elementwise(inputs, outputs)

    def values(
        self,
        where: Where,  # noqa: ARG002
        o: Array,
        lse: Array,
        *sinks: Array,
    ) -> tuple[Array, ...]:
        """Return the joined output, [1, rows, width]."""
        top = lse.max(0)
        least = np.where(np.isfinite(top), top, 0.0)
        share = np.exp(lse - least)
        total = share.sum(0) + sum(np.exp(sink - least) for sink in sinks)
        share = share / np.where(total > 0, total, 1.0)
        parts, rows, width = o.shape
        heads = o.reshape(parts, rows, self.heads, width // self.heads)
        joined = (heads * share[..., None]).sum(0)
        return (joined.reshape(1, rows, width),)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class MergeMore(MergeAttention):
    """As `MergeAttention`, of log-sum-exps [1, rows, heads]: joins one more partial softmax."""

    def values(
        self, where: Where, o: Array, lse: Array, more: Array, more_lse: Array
    ) -> tuple[Array, ...]:
        """Return the joined output and log-sum-exp."""
        mine, theirs = (x.transpose(0, 2, 1) for x in (lse, more_lse))
        # Two-argument super() has no class to find in a dataclass with slots.
        joined, joint = MergeAttention.values(self, where, o, mine, more, theirs)
        return joined, joint.transpose(0, 2, 1)
