"""The attention core over parts of the sequence: flash kernels, tiles, log-sum-exp merging.

Shapes are [batch, heads, tokens, d], strided views of the activations' [batch, tokens, width].
A causal mask between stored parts of a sequence falls into tiles: keys wholly before the queries
(no mask), and queries on their own keys (a causal square). Tiles are merged by their log-sum-exp
(ring attention, arXiv 2310.01889); backward needs only the merged one (arXiv 2307.08691).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from tspsim.calibrate.reference.config import Ranges

ATEN = torch.ops.aten


class Tile(NamedTuple):
    """Some queries on some keys, by where they are stored; causal tiles are square."""

    queries: slice
    keys: slice
    causal: bool


def split(x: Tensor, d: int) -> Tensor:
    """Return [batch, tokens, heads * d] as [batch, heads, tokens, d], without a copy."""
    return x.unflatten(-1, (-1, d)).transpose(1, 2)


def join(x: Tensor) -> Tensor:
    """Return [batch, heads, tokens, d] as [batch, tokens, heads * d]."""
    return x.transpose(1, 2).flatten(2)


def tiles(queries: Ranges, keys: Ranges, *, causal: bool) -> list[Tile]:
    """Return the tiles that a mask leaves between stored positions; chunks must be aligned."""
    if not causal:
        lengths = [sum(b - a for a, b in ranges) for ranges in (queries, keys)]
        return [Tile(slice(0, lengths[0]), slice(0, lengths[1]), False)]
    found, row = [], 0
    for a, b in queries:
        mine, column = slice(row, row + b - a), 0
        for c, d in keys:
            if c < a:
                found.append(Tile(mine, slice(column, column + min(d, a) - c), False))
            if c <= a < d:
                found.append(Tile(mine, slice(column + a - c, column + b - c), True))
            column += d - c
        row += b - a
    return found


def blocks(tile: Tile, size: int) -> Iterator[Tile]:
    """Cut a tile into blocks of at most `size` queries and keys."""
    q, k, causal = tile
    for i in range(q.start, q.stop, size):
        for j in range(k.start, k.stop, size):
            below = i - q.start, j - k.start
            if causal and below[1] > below[0]:
                continue
            block = slice(i, min(q.stop, i + size)), slice(j, min(k.stop, j + size))
            yield Tile(*block, causal and below[0] == below[1])


# ---- forward -------------------------------------------------------------------------------------


def attend(
    q: Tensor, k: Tensor, v: Tensor, parts: list[Tile], into: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp over all tiles, merged into earlier ones when given."""
    if into is None and len(parts) == 1:
        return forward(q, k, v, parts[0].causal)
    o, lse = into or (None, None)
    seen = {tile.queries.start for tile in parts} if into else set()
    for tile in parts:
        mine = (slice(None), slice(None), tile.queries)
        some, some_lse = forward(q[mine], k[:, :, tile.keys], v[:, :, tile.keys], tile.causal)
        if o is None or lse is None:
            o, lse = torch.empty_like(q), some_lse.new_empty(q.shape[:3])
        if tile.queries.start in seen:
            _merge(o[mine], lse[mine], some, some_lse)
        else:
            o[mine], lse[mine] = some, some_lse
            seen.add(tile.queries.start)
    assert o is not None
    assert lse is not None
    return o, lse


def _merge(o: Tensor, lse: Tensor, more: Tensor, more_lse: Tensor) -> None:
    """Join a partial softmax into another, in place."""
    joint = torch.logaddexp(lse, more_lse)
    o.mul_((lse - joint).exp_().unsqueeze(-1))
    o.add_(more.mul_((more_lse - joint).exp_().unsqueeze(-1)))
    lse.copy_(joint)


# ---- backward ------------------------------------------------------------------------------------


class Saved(NamedTuple):
    """What backward reads: queries, output, log-sum-exp, and the output's gradient."""

    q: Tensor
    o: Tensor
    lse: Tensor
    do: Tensor


def attend_backward(
    saved: Saved,
    k: Tensor,
    v: Tensor,
    parts: list[Tile],
    size: int,
    into: tuple[Tensor, Tensor, Tensor] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Return dq, dk and dv over all tiles, added to earlier ones when given.

    One tile on its own comes straight from the kernel; gradients that are added up come in blocks
    of at most `size` tokens, so that what is not yet added stays small.
    """
    if into is None and len(parts) == 1:
        return backward(saved, k, v, parts[0].causal)
    q = saved.q
    dq, dk, dv = into or (zeros(q), zeros(k), zeros(v))
    for tile in parts:
        for queries, keys, causal in blocks(tile, size):
            some = Saved(*(x[:, :, queries] for x in saved))
            gradients = backward(some, k[:, :, keys], v[:, :, keys], causal)
            for total, part, at in zip((dq, dk, dv), gradients, (queries, keys, keys), strict=True):
                total[:, :, at].add_(part)
            del gradients, part
    return dq, dk, dv


def zeros(x: Tensor) -> Tensor:
    """Return zeros of x's shape, stored as [batch, tokens, heads, d]."""
    b, n, s, d = x.shape
    return x.new_zeros(b, s, n, d).transpose(1, 2)


# ---- kernels: flash on CPU and CUDA, plain products for what CUDA's has no code for --------------


def _kernel(q: Tensor) -> str:
    if q.device.type == "cpu":
        return "cpu"
    flash = q.dtype in (torch.float16, torch.bfloat16) and q.shape[-1] % 8 == 0
    return "cuda" if flash and q.shape[-1] <= 256 else "plain"


def forward(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Return output and log-sum-exp of one tile."""
    kernel = _kernel(q)
    if kernel == "plain":
        return plain(q, k, v, causal)
    if kernel == "cpu":
        o, lse = ATEN._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    else:
        o, lse, *_ = ATEN._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
    return o, lse


def backward(saved: Saved, k: Tensor, v: Tensor, causal: bool) -> Any:
    """Return dq, dk and dv of one tile."""
    q, o, lse, do = saved
    kernel = _kernel(q)
    if kernel == "plain":
        return plain_backward(saved, k, v, causal)
    if kernel == "cpu":
        return ATEN._scaled_dot_product_flash_attention_for_cpu_backward(
            do, q, k, v, o, lse, 0.0, causal
        )
    unused = torch.empty((), dtype=torch.int64, device=q.device)  # seed and offset of a dropout
    lengths = q.shape[2], k.shape[2]
    return ATEN._scaled_dot_product_flash_attention_backward(
        do, q, k, v, o, lse.contiguous(), None, None, *lengths, 0.0, causal, unused, unused
    )


def _grouped(x: Tensor, kv_heads: int) -> Tensor:
    return x.unflatten(1, (kv_heads, -1))


def _scores(q: Tensor, k: Tensor, causal: bool) -> Tensor:
    scores = _grouped(q, k.shape[1]) @ k.unsqueeze(2).mT * q.shape[-1] ** -0.5
    if causal:
        later = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).triu_(1)
        scores.masked_fill_(later, float("-inf"))
    return scores


def plain(q: Tensor, k: Tensor, v: Tensor, causal: bool) -> tuple[Tensor, Tensor]:
    """Do what `forward` does, by the definition."""
    scores = _scores(q, k, causal)
    lse = scores.logsumexp(-1, keepdim=True)
    o = (scores - lse).exp() @ v.unsqueeze(2)
    return o.flatten(1, 2), lse.flatten(1, 2).squeeze(-1)


def plain_backward(
    saved: Saved, k: Tensor, v: Tensor, causal: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Do what `backward` does, by the definition."""
    q, o, lse, do = (_grouped(x, k.shape[1]) for x in saved)
    p = (_scores(saved.q, k, causal) - lse.unsqueeze(-1)).exp()
    dp = do @ v.unsqueeze(2).mT
    ds = p * (dp - (do * o).sum(-1, keepdim=True)) * q.shape[-1] ** -0.5
    dq = (ds @ k.unsqueeze(2)).flatten(1, 2)
    return dq, (ds.mT @ q).sum(2), (p.mT @ do).sum(2)
