"""The dense model's attention between queries, keys and values, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.model import ModelShape

Float: TypeAlias = NDArray[np.float64]


EPSILON = 1e-6


def plain_norm(x: Float) -> tuple[Float, Any]:
    """Return x over the root mean square of its last dim, and what gives its gradient."""
    root = np.sqrt((x**2).mean(-1, keepdims=True) + EPSILON)
    y = x / root
    return y, lambda dy: (dy - y * (dy * y).mean(-1, keepdims=True)) / root


def capped(x: Float, cap: float | None) -> tuple[Float, Float]:
    """Return ``cap * tanh(x / cap)`` and its slope; x itself without a cap."""
    if cap is None:
        return x, np.ones_like(x)
    t = np.tanh(x / cap)
    return cap * t, 1 - t * t


@dataclass(frozen=True, slots=True)
class Core:
    """Attention of one layer over whole sequences.

    Parameters
    ----------
    model : ModelShape
    window : int or None
        Of the layer.
    causal : bool
    """

    model: ModelShape
    window: int | None
    causal: bool

    def mask(self, s: int) -> Float:
        """Return what is added to the scores, (queries, keys)."""
        distance = np.arange(s)[:, None] - np.arange(s)
        seen = (distance >= 0) | (not self.causal)
        return np.where(seen & (distance < (self.window or s)), 0.0, -np.inf)

    def attend(self, q: Float, k: Float, v: Float, sinks: Float | None = None) -> tuple[Float, Any]:
        """Return the output of all heads side by side, and its backward: to dq, dk, dv, dsinks.

        A sink is one more score of a head's softmax, of a key whose value is zero.
        """
        b, s, _ = q.shape
        n, d = self.model.kv_heads, self.model.head_dim
        qh = q.reshape(b, s, n, -1, d)
        kh, vh = k.reshape(b, s, n, d), v.reshape(b, s, n, d)
        scores = np.einsum("bqngd,bknd->bngqk", qh, kh) / np.sqrt(d)
        scores, slope = capped(scores, self.model.score_cap)
        scores = scores + self.mask(s)
        sink = np.full((n, q.shape[-1] // (n * d)), -np.inf) if sinks is None else sinks
        sink = np.broadcast_to(sink.reshape(n, -1)[..., None, None], (*scores.shape[:-1], 1))
        with_sink = np.concatenate([scores, sink], -1)
        a = np.exp(with_sink - with_sink.max(-1, keepdims=True))
        a, at_sink = np.split(a / a.sum(-1, keepdims=True), [s], -1)
        o = np.einsum("bngqk,bknd->bqngd", a, vh)

        def back(dy: Float) -> tuple[Float, Float, Float, Float]:
            do = dy.reshape(o.shape)
            dv = np.einsum("bngqk,bqngd->bknd", a, do)
            da = np.einsum("bqngd,bknd->bngqk", do, vh)
            mean = (da * a).sum(-1, keepdims=True)
            dsinks = -(at_sink * mean).sum((0, 3, 4)).reshape(-1)
            ds = a * (da - mean) * slope / np.sqrt(d)
            dq = np.einsum("bngqk,bknd->bqngd", ds, kh)
            dk = np.einsum("bngqk,bqngd->bknd", ds, qh)
            return dq.reshape(q.shape), dk.reshape(k.shape), dv.reshape(v.shape), dsinks

        return o.reshape(q.shape), back
