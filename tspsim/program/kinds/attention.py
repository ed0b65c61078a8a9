"""The attention core as a flash kernel does it: forward, backward, and merging partial results."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tspsim.program.kinds.base import Array, Where, elementwise, moved
from tspsim.program.kinds.soft_cap import capped, slope
from tspsim.program.tokens import Tokens, twice_windowed_pairs
from tspsim.program.types import Operand, PerCoordinate, Work


@dataclass(frozen=True, slots=True)
class Core:
    """What forward and backward share: who attends to whom.

    Parameters
    ----------
    heads, kv_heads : int
        Heads on this rank; query head i reads key/value head ``i // (heads / kv_heads)``.
    queries, keys : Tokens
        Positions of the rows of q and of K, V.
    causal : bool
        Leave out the pairs whose key comes after the query.
    window : int or None
        Of a causal core: leave out the pairs that are so many places apart, or more.
    cap : float or None
        Scores are ``cap * tanh(x / cap)``, in the same kernel: no other products, no other bytes.
    """

    heads: int
    kv_heads: int
    queries: Tokens
    keys: Tokens
    causal: bool
    window: int | None = None
    cap: float | None = None

    @property
    def axis(self) -> str | None:
        """The axis on whose coordinate the work depends."""
        return self.queries.axis or self.keys.axis

    def twice_pairs(self, coordinate: int) -> int:
        """Return twice the (query, key) pairs of one sequence and head that count."""
        if not self.causal:
            return 2 * self.queries.local * self.keys.local
        queries, keys = self.queries.ranges(coordinate), self.keys.ranges(coordinate)
        return twice_windowed_pairs(queries, keys, self.window)

    def mask(self, where: Where) -> Array:
        """Return which pairs count, shape (queries, keys)."""
        coordinate = where.coordinate(self.axis)
        q, k = self.queries.positions(coordinate), self.keys.positions(coordinate)
        if not self.causal:
            return np.ones((len(q), len(k)), dtype=bool)
        distance = q[:, None] - k[None, :]
        return np.asarray((distance >= 0) & (distance < (self.window or np.inf)))

    def split(self, x: Array, heads: int) -> Array:
        """Return [batch, tokens, heads * d] as [batch, heads, tokens, d]."""
        b, s, width = x.shape
        return x.reshape(b, s, heads, width // heads).transpose(0, 2, 1, 3)

    def expand(self, x: Array) -> Array:
        """Return keys or values repeated for every query head, [batch, heads, keys, d]."""
        return np.repeat(self.split(x, self.kv_heads), self.heads // self.kv_heads, axis=1)

    def joined(self, x: Array) -> Array:
        """Return [batch, heads, tokens, d] as [batch, tokens, heads * d]."""
        b, n, s, d = x.shape
        return x.transpose(0, 2, 1, 3).reshape(b, s, n * d)

    def fold(self, x: Array) -> Array:
        """Return gradients of repeated keys or values, summed over the heads that read them."""
        b, _, s, d = x.shape
        return self.joined(x.reshape(b, self.kv_heads, -1, s, d).sum(2))

    def text(self, name: str) -> str:
        """Return the name with its heads and mask."""
        mask = "causal" if self.causal else "full"
        mask += f", window {self.window}" if self.window else ""
        mask += f", cap {self.cap:g}" if self.cap else ""
        return f"{name}({self.heads}/{self.kv_heads} heads, {mask})"


#: Products over the pairs that run over the width of a key (or give it), and of a value, by curve.
#: Forward: scores; weighted sum. Backward: scores, dQ, dK; dV, dP.
PRODUCTS = {"attention": (1, 1), "attention_backward": (3, 2)}


@lru_cache(maxsize=4096)
def _work(
    core: Core, kernel: str, batch: int, widths: tuple[int, int], curve: str, bytes_: int
) -> Work | PerCoordinate:
    """Return the matmuls over the unmasked pairs, per coordinate where they differ.

    `widths` are those of all heads' queries, and of their outputs.
    """
    keys, values = (width // core.heads for width in widths)
    heads, tokens = (core.heads, core.kv_heads), (core.queries.local, core.keys.local)
    shape = (batch, *heads, *tokens, keys, int(core.causal), values)
    wide = sum(n * width for n, width in zip(PRODUCTS[curve], widths, strict=True))

    def at(coordinate: int) -> Work:
        pairs = core.twice_pairs(coordinate)
        traffic = bytes_ if pairs else 0  # a kernel whose pairs are all masked is not launched
        return Work(pairs * wide * batch, traffic, curve, shape, kernel=kernel)

    if core.axis is None:
        return at(0)
    degree = max(core.queries.degree, core.keys.degree)
    works = tuple(at(c) for c in range(degree))
    return works[0] if len(set(works)) == 1 else PerCoordinate(core.axis, works)


@dataclass(frozen=True, slots=True)
class Attention:
    """``(q, K, V[, sinks]) -> (o, lse)``; lse: log-sum-exp of scores, [batch, heads, queries].

    A sink, one number per head, is one more score of every query, of a key whose value is zero
    (gpt-oss; arXiv 2309.17453): part of the log-sum-exp, and so of what partial outputs are merged
    by. Of several parts of the keys one alone may have it.

    Parameters
    ----------
    core : Core
    kernel : str
        Which flash kernel: a profile may tell them apart.
    """

    core: Core
    kernel: str = ""
    name = "attention"

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return two products over the unmasked pairs: 4 * pairs * width flops per sequence."""
        batch, _, width = inputs[0].shape
        widths = (width, outputs[0].shape[-1])
        return _work(self.core, self.kernel, batch, widths, self.name, moved(inputs, outputs))

    def values(
        self, where: Where, q: Array, k: Array, v: Array, *sinks: Array
    ) -> tuple[Array, ...]:
        """Return o, as wide as values are, and lse; a query with no key gives 0 and -inf."""
        core = self.core
        qh, kh, vh = core.split(q, core.heads), core.expand(k), core.expand(v)
        scores = capped(qh @ kh.swapaxes(-1, -2) / np.sqrt(qh.shape[-1]), core.cap)
        o, lse = softmaxed(np.where(core.mask(where), scores, -np.inf), vh, *sinks)
        return core.joined(o), lse[..., 0]

    def text(self) -> str:
        """Return heads and mask."""
        return self.core.text(self.name)


def softmaxed(scores: Array, v: Array, *sinks: Array) -> tuple[Array, Array]:
    """Return what scores [..., heads, queries, keys] sum up of v, and their log-sum-exp.

    A query with no key gives 0 and -inf. Sinks, a number per head, are in both.
    """
    top = scores.max(-1, keepdims=True, initial=-np.inf)
    top = np.where(np.isfinite(top), top, 0.0)
    weights = np.exp(scores - top)
    total = sum((np.exp(by_head(s) - top) for s in sinks), weights.sum(-1, keepdims=True))
    o = (weights @ v) / np.where(total > 0, total, 1.0)
    with np.errstate(divide="ignore"):
        return o, np.log(total) + top


def by_head(sinks: Array) -> Array:
    """Return sinks as they stand beside scores, [heads, 1, 1]."""
    return sinks[:, None, None]


@dataclass(frozen=True, slots=True)
class AttentionBackward:
    """``(do, q, K, V, o, lse) -> (dq, dK, dV)`` from the saved log-sum-exp; see `Attention`."""

    core: Core
    kernel: str = ""
    name = "attention_backward"

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return five products: scores, dV, dP, dQ, dK (FlashAttention-2, arXiv 2307.08691)."""
        batch, _, width = inputs[1].shape
        widths = (width, inputs[0].shape[-1])
        return _work(self.core, self.kernel, batch, widths, self.name, moved(inputs, outputs))

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return dq, dK and dV."""
        do, q, k, v, o, lse = arrays
        core = self.core
        qh, doh = core.split(q, core.heads), core.split(do, core.heads)
        kh, vh, oh = core.expand(k), core.expand(v), core.split(o, core.heads)
        scale = 1 / np.sqrt(qh.shape[-1])
        scores = capped(qh @ kh.swapaxes(-1, -2) * scale, core.cap)
        shifted = scores - lse[..., None]
        seen = core.mask(where)
        p = np.where(seen, np.exp(np.where(seen, shifted, 0.0)), 0.0)
        dp = doh @ vh.swapaxes(-1, -2)
        ds = p * (dp - (doh * oh).sum(-1, keepdims=True)) * slope(scores, core.cap) * scale
        dq = core.joined(ds @ kh)
        dk, dv = core.fold(ds.swapaxes(-1, -2) @ qh), core.fold(p.swapaxes(-1, -2) @ doh)
        return dq, dk, dv

    def text(self) -> str:
        """Return heads and mask."""
        return self.core.text(self.name)


@dataclass(frozen=True, slots=True)
class MergeAttention:
    """``(o, lse, o', lse') -> (o, lse)``: joins two partial softmaxes by their log-sum-exp.

    The running merge of ring attention (arXiv 2310.01889).
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
        more: Array,
        more_lse: Array,
    ) -> tuple[Array, ...]:
        """Return the joined output and log-sum-exp."""
        joint = np.logaddexp(lse, more_lse)
        finite = np.where(np.isfinite(joint), joint, 0.0)
        mine, theirs = np.exp(lse - finite), np.exp(more_lse - finite)
        return self._scaled(o, mine) + self._scaled(more, theirs), joint

    def _scaled(self, o: Array, factor: Array) -> Array:
        b, s, width = o.shape
        heads = o.reshape(b, s, self.heads, width // self.heads)
        return (heads * factor.transpose(0, 2, 1)[..., None]).reshape(o.shape)

    def text(self) -> str:
        """Return the name."""
        return self.name
