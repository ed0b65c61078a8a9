"""What stands between latent attention's matrix products and its core: parts cut and joined.

Forward, a latent and the shared key come out of one product, and a head's key without positions
and its values out of another. Backward joins their gradients again.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.pointwise import Pointwise


@dataclass(frozen=True, slots=True)
class SplitColumns(Pointwise):
    """``x -> (left, right)``: the first `left` columns, and the others."""

    left: int
    name = "split_columns"

    def values(self, where: Where, x: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return both parts."""
        return x[..., : self.left], x[..., self.left :]


@dataclass(frozen=True, slots=True)
class JoinColumns(Pointwise):
    """``(left, right) -> x``: the gradient of `SplitColumns`."""

    name = "join_columns"

    def values(self, where: Where, left: Array, right: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return them side by side."""
        return (np.concatenate([left, right], axis=-1),)


@dataclass(frozen=True, slots=True)
class SplitKeysValues(Pointwise):
    """``(kv, shared) -> (k, v)``: the shared key ends every head's, values stand apart.

    Parameters
    ----------
    heads : int
    nope : int
        Width of a key without positions; of a head's columns in `kv` the first ones.
    """

    heads: int
    nope: int
    name = "split_keys_values"

    def values(self, where: Where, kv: Array, shared: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return k and v."""
        heads = _heads(kv, self.heads)
        own, v = heads[..., : self.nope], heads[..., self.nope :]
        every = np.broadcast_to(shared[:, :, None], (*own.shape[:-1], shared.shape[-1]))
        return _flat(np.concatenate([own, every], axis=-1)), _flat(v)


@dataclass(frozen=True, slots=True)
class JoinKeysValues(Pointwise):
    """``(dk, dv) -> (dkv, dshared)``: the gradient of `SplitKeysValues`.

    That of the shared key is the sum over heads.
    """

    heads: int
    nope: int
    name = "join_keys_values"

    def values(self, where: Where, dk: Array, dv: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return dkv and dshared."""
        keys, values = _heads(dk, self.heads), _heads(dv, self.heads)
        own, shared = keys[..., : self.nope], keys[..., self.nope :]
        return _flat(np.concatenate([own, values], axis=-1)), np.asarray(shared.sum(2))


def _heads(x: Array, heads: int) -> Array:
    b, s, width = x.shape
    return x.reshape(b, s, heads, width // heads)


def _flat(x: Array) -> Array:
    b, s, heads, width = x.shape
    return x.reshape(b, s, heads * width)
