"""Matrix products, norm, rotary positions and SwiGLU, forward and backward, without temporaries.

Everything works in the activations' type and in place where training allows it. Where single
precision is wanted inside, it is taken piece by piece over the tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.nn import functional

EPSILON = 1e-6
ROTARY_BASE = 10000.0


def rows(x: Tensor) -> Tensor:
    """Return [..., n] as a matrix [tokens, n], without a copy."""
    return x.view(-1, x.shape[-1])


def pieces(x: Tensor, scratch: int, dim: int = 0) -> Iterator[slice]:
    """Yield slices over a dim of x, each of about `scratch` elements of it."""
    count = x.shape[dim]
    size = max(1, scratch * count // x.numel())
    for start in range(0, count, size):
        yield slice(start, min(count, start + size))


# ---- matrix products -----------------------------------------------------------------------------


def matmul(x: Tensor, w: Tensor, out: Tensor | None = None, *, add: bool = False) -> Tensor:
    """Return ``x w``, [..., n]; written to `out`, or added to it, when it is given."""
    if out is None:
        return torch.mm(rows(x), w).view(*x.shape[:-1], w.shape[1])
    into = rows(out)
    if add:
        torch.addmm(into, rows(x), w, out=into)
    else:
        torch.mm(rows(x), w, out=into)
    return out


#: Weight gradients that wait, while `postponed` collects them.
_waiting: list[tuple[Tensor, Tensor, Tensor]] | None = None


@contextmanager
def postponed() -> Iterator[list[tuple[Tensor, Tensor, Tensor]]]:
    """Collect the operands of weight gradients, copied, instead of adding them up.

    `weight_gradient` adds each of them later: the second half of a backward. Not for gradients
    that are sent on as soon as they are written, TSP's of more than one rank.
    """
    global _waiting
    _waiting = []
    try:
        yield _waiting
    finally:
        _waiting = None


def weight_gradient(x: Tensor, dy: Tensor, into: Tensor, *, add: bool = True) -> None:
    """Add ``xᵀ dy`` over all tokens to a weight gradient, or write it there."""
    if _waiting is not None:
        assert add, "what is written anew cannot wait"
        _waiting.append((x.clone(), dy.clone(), into))
        return
    a, b = rows(x).t(), rows(dy)
    if add:
        torch.addmm(into, a, b, out=into)
    else:
        torch.mm(a, b, out=into)


# ---- RMSNorm -------------------------------------------------------------------------------------


def inverse_rms(x: Tensor) -> Tensor:
    """Return ``1 / sqrt(mean(x²) + eps)`` of every token, [..., 1], in single precision."""
    wide = torch.promote_types(x.dtype, torch.float32)
    norm = torch.linalg.vector_norm(x, dim=-1, keepdim=True, dtype=wide)
    return norm.square_().div_(x.shape[-1]).add_(EPSILON).rsqrt_()


def norm(x: Tensor, w: Tensor, out: Tensor | None = None) -> Tensor:
    """Return ``x / rms(x) * w``, written to `out` when it is given."""
    out = torch.empty_like(x) if out is None else out
    return torch.mul(x, inverse_rms(x), out=out).mul_(w)


def norm_backward(
    dy: Tensor, x: Tensor, w: Tensor, dw: Tensor, dx: Tensor, scratch: int, *, add: bool = True
) -> Tensor:
    """Add the weight's gradient to `dw` and the input's gradient to `dx` (or write it there)."""
    dys, xs, dxs = rows(dy), rows(x), rows(dx)
    wide = torch.promote_types(x.dtype, torch.float32)
    weight, total = w.to(wide), torch.zeros_like(w, dtype=wide)
    for part in pieces(xs, scratch):
        scale = inverse_rms(xs[part])
        hat = xs[part] * scale
        g = dys[part] * hat
        total += g.sum(0)
        mean = g.mul_(weight).mean(-1, keepdim=True)
        torch.mul(dys[part], weight, out=g)
        g.sub_(hat.mul_(mean)).mul_(scale)
        if add:
            dxs[part].add_(g)
        else:
            dxs[part].copy_(g)
    dw.add_(total)
    return dx


# ---- rotary positions ----------------------------------------------------------------------------


def rotate(x: Tensor, positions: Tensor, d: int, scratch: int, *, back: bool = False) -> Tensor:
    """Turn every head of x, [batch, tokens, heads * d], by its tokens' positions, in place."""
    wide = torch.promote_types(x.dtype, torch.float32)
    half = d // 2
    exponent = torch.arange(half, device=x.device, dtype=wide) / half
    frequency = torch.pow(ROTARY_BASE, -exponent) * (-1 if back else 1)
    heads = x.unflatten(-1, (-1, 2, half))
    for part in pieces(x, scratch, dim=1):
        angle = (positions[part, None] * frequency)[:, None]
        a, b, cos, sin = heads[:, part, :, 0], heads[:, part, :, 1], angle.cos(), angle.sin()
        first, second = (a * cos).sub_(b * sin), (a * sin).add_(b * cos)
        a.copy_(first)
        b.copy_(second)
    return x


# ---- SwiGLU --------------------------------------------------------------------------------------


def gated(gate: Tensor, up: Tensor) -> Tensor:
    """Return ``silu(gate) * up``."""
    return functional.silu(gate).mul_(up)


def gated_backward(dhidden: Tensor, gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of gate and up, written over the two (each over the other)."""
    up.mul_(dhidden)
    dgate = torch.ops.aten.silu_backward.grad_input(up, gate, grad_input=up)
    dup = functional.silu(gate, inplace=True).mul_(dhidden)
    return dgate, dup
