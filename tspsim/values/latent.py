"""Latent attention of the dense model: from DeepSeek-V2's formulas (arXiv 2405.04434, section 2.1).

Position-free parts and rotary parts of queries and keys are kept apart, as the formulas have them,
and scores are the sum of both products: the programs concatenate them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.latent import Latent
from tspsim.model import ModelShape

Float: TypeAlias = NDArray[np.float64]
#: Takes an input and a tensor's name; returns the output, and what gives the input's gradient.
Linear: TypeAlias = Callable[[Float, str], tuple[Float, Any]]
#: Takes [batch, tokens, heads, width] and a sign: turns forward or back.
Rotate: TypeAlias = Callable[[Float, int], Float]


def latent_attention(
    x: Float, model: ModelShape, mask: Float, linear: Linear, norm: Linear, rotate: Rotate
) -> tuple[Float, Callable[[Float], Float]]:
    """Return the output of attention, and what gives the gradient of its input.

    Parameters
    ----------
    x : ndarray of shape (batch, tokens, hidden)
    model : ModelShape
    mask : ndarray of shape (tokens, tokens)
        Added to the scores.
    linear, norm, rotate : callable
    """
    latent = model.latent
    assert latent is not None
    b, s, _ = x.shape
    q, q_back = _queries(x, latent, linear, norm)
    c, down_back = linear(x, "wkv_a")
    normed, norm_back = norm(c[..., : latent.kv_rank], "kv_norm")
    kv, up_back = linear(normed, "wkv_b")
    qc, qr = np.split(q.reshape(b, s, model.heads, -1), [latent.nope], axis=-1)
    kc, v = np.split(kv.reshape(b, s, model.heads, -1), [latent.nope], axis=-1)
    qr, kr = rotate(qr, 1), rotate(c[..., None, latent.kv_rank :], 1)[:, :, 0]
    scores = np.einsum("bqnd,bknd->bnqk", qc, kc) + np.einsum("bqnr,bkr->bnqk", qr, kr)
    scores = scores / np.sqrt(latent.head) + mask
    a = np.exp(scores - scores.max(-1, keepdims=True))
    a /= a.sum(-1, keepdims=True)
    out, out_back = linear(np.einsum("bnqk,bknv->bqnv", a, v).reshape(b, s, -1), "wo")

    def back(dy: Float) -> Float:
        do = out_back(dy).reshape(b, s, model.heads, -1)
        da = np.einsum("bqnv,bknv->bnqk", do, v)
        ds = a * (da - (da * a).sum(-1, keepdims=True)) / np.sqrt(latent.head)
        dqr = rotate(np.einsum("bnqk,bkr->bqnr", ds, kr), -1)
        dq = np.concatenate([np.einsum("bnqk,bknd->bqnd", ds, kc), dqr], -1)
        dk, dv = np.einsum("bnqk,bqnd->bknd", ds, qc), np.einsum("bnqk,bqnv->bknv", a, do)
        dkr = rotate(np.einsum("bnqk,bqnr->bkr", ds, qr)[:, :, None], -1)[:, :, 0]
        dnormed = up_back(np.concatenate([dk, dv], -1).reshape(kv.shape))
        dc = np.concatenate([norm_back(dnormed), dkr], -1)
        return np.asarray(q_back(dq.reshape(q.shape)) + down_back(dc))

    return out, back


def _queries(
    x: Float, latent: Latent, linear: Linear, norm: Linear
) -> tuple[Float, Callable[[Float], Float]]:
    if not latent.q_rank:
        return linear(x, "wq")
    c, down_back = linear(x, "wq_a")
    normed, norm_back = norm(c, "q_norm")
    q, up_back = linear(normed, "wq_b")
    return q, lambda dq: np.asarray(down_back(norm_back(up_back(dq))))
