"""Latent attention against cached latents, with the ways up on the side of the queries.

A head's key without positions is its part of the way up times the latent, so a query can be
brought down instead, once, and attend to latents themselves; what it sums up of them is brought up
to values behind attention ("absorption", arXiv 2405.04434, section 2.1.2). A cache of one vector a
token then serves all heads.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.latent import Latent
from tspsim.program.kinds.base import Array, Where, moved
from tspsim.program.kinds.cached_attention import CachedAttention, CachedCore, attention_work
from tspsim.program.types import Operand, PerCoordinate, Work


@dataclass(frozen=True, slots=True)
class AbsorbQueries:
    """``(q, wkv) -> q'``: queries of heads in the latent's space, and their part with positions.

    Parameters
    ----------
    latent : Latent
    """

    latent: Latent
    name = "absorb_queries"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return a product of every head's queries with its own way up to keys."""
        return _product(inputs, outputs, self.latent, self.latent.nope, self.latent.kv_rank)

    def values(self, where: Where, q: Array, wkv: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return [1, rows, heads * (kv_rank + rope)]."""
        latent = self.latent
        heads = q.reshape(*q.shape[:2], -1, latent.head)
        up = wkv.reshape(latent.kv_rank, -1, latent.up)[..., : latent.nope]
        down = np.einsum("grnd,knd->grnk", heads[..., : latent.nope], up)
        out = np.concatenate([down, heads[..., latent.nope :]], axis=-1)
        return (out.reshape(*q.shape[:2], -1),)

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class ValuesOfLatents:
    """``(o', wkv) -> o``: values of heads from what they sum up of latents.

    Parameters
    ----------
    latent : Latent
    """

    latent: Latent
    name = "values_of_latents"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return a product of every head's sum with its own way up to values."""
        return _product(inputs, outputs, self.latent, self.latent.kv_rank, self.latent.value)

    def values(self, where: Where, o: Array, wkv: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return [1, rows, heads * value]."""
        latent = self.latent
        heads = o.reshape(*o.shape[:2], -1, latent.kv_rank)
        up = wkv.reshape(latent.kv_rank, -1, latent.up)[..., latent.nope :]
        return (np.einsum("grnk,knv->grnv", heads, up).reshape(*o.shape[:2], -1),)

    def text(self) -> str:
        """Return the name."""
        return self.name


def _product(
    inputs: tuple[Operand, ...], outputs: tuple[Operand, ...], latent: Latent, k: int, n: int
) -> Work:
    x, w = inputs
    rows, heads = x.shape[0] * x.shape[1], w.shape[-1] // latent.up
    read = w.bytes * heads * k * n // max(1, w.elements)
    bytes_ = moved((x,), outputs) + read
    return Work(2 * rows * heads * k * n, bytes_, "matmul", (rows, k, heads * n))


@dataclass(frozen=True, slots=True)
class LatentAttention:
    """``(q', latents, keys) -> (o', lse)``: all heads read the same latents, which are values too.

    Parameters
    ----------
    core : CachedCore
        With one key/value head.
    """

    core: CachedCore
    name = "attention"

    def work(
        self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]
    ) -> Work | PerCoordinate:
        """Return two products over the pairs; a token's latent and key are read once."""
        q, kv, shared = inputs
        widths = kv.shape[-1] + shared.shape[-1], kv.shape[-1]
        small = q.bytes + sum(o.bytes for o in outputs)
        per_token = widths[0] * kv.buffer.itemsize
        return attention_work(self.core, "", widths, q.shape[0], (small, per_token))

    def values(self, where: Where, q: Array, kv: Array, shared: Array) -> tuple[Array, ...]:
        """Return o' and lse as `CachedAttention` does."""
        return CachedAttention(self.core).values(where, q, np.concatenate([kv, shared], -1), kv)

    def text(self) -> str:
        """Return heads and mask."""
        return self.core.text(self.name)
