"""Tensors that are cut over the members of a group: equal chunks along one dim, the last padded.

A flat operand may hold several tensors; its shard on a member holds that member's chunk of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from tspsim.mesh import Axes
from tspsim.program.bindings import Shard
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.in_place import part
from tspsim.program.varying import product


class Chunks(NamedTuple):
    """One tensor, cut along `dim`."""

    shape: tuple[int, ...]
    dim: int = 0

    def chunk_shape(self, members: int) -> tuple[int, ...]:
        """Return the shape of one member's chunk, the padding included."""
        rows = part(self.shape[self.dim], members)
        return (*self.shape[: self.dim], rows, *self.shape[self.dim + 1 :])

    def chunks(self, x: Array, members: int) -> list[Array]:
        """Return every member's chunk, zeros where the tensor has ended."""
        rows = x.shape[self.dim]
        padding = [(0, 0)] * x.ndim
        padding[self.dim] = (0, part(rows, members) * members - rows)
        return np.split(np.pad(x, padding), members, axis=self.dim)

    def joined(self, chunks: Sequence[Array]) -> Array:
        """Return the tensor that so many flat chunks make, without the padding."""
        shape = self.chunk_shape(len(chunks))
        whole = np.concatenate([x.reshape(shape) for x in chunks], axis=self.dim)
        return np.take(whole, np.arange(self.shape[self.dim]), axis=self.dim)


#: The tensors of a flat operand, in order.
Layout: TypeAlias = tuple[Chunks, ...]


def flat(elements: int) -> Layout:
    """Return the layout of an operand that is cut as it lies, whatever tensors it holds."""
    return (Chunks((elements,)),)


def shard_elements(layout: Layout, members: int) -> int:
    """Return the elements of a shard, the padding of every tensor included."""
    return sum(product(tensor.chunk_shape(members)) for tensor in layout)


def shards(x: Array, layout: Layout, members: int) -> list[Array]:
    """Return every member's shard of a flat operand."""
    pieces: list[list[Array]] = [[] for _ in range(members)]
    for tensor, values in zip(layout, _split(x, [product(t.shape) for t in layout]), strict=True):
        for mine, chunk in zip(
            pieces, tensor.chunks(values.reshape(tensor.shape), members), strict=True
        ):
            mine.append(chunk.reshape(-1))
    return [np.concatenate(mine) for mine in pieces]


def joined(parts: Sequence[Array], layout: Layout) -> Array:
    """Return the flat operand that all members' shards make."""
    sizes = [product(tensor.chunk_shape(len(parts))) for tensor in layout]
    rows = [_split(shard, sizes) for shard in parts]
    columns = zip(layout, zip(*rows, strict=True), strict=True)
    return np.concatenate([tensor.joined(chunks).reshape(-1) for tensor, chunks in columns])


def _split(x: Array, sizes: Sequence[int]) -> list[Array]:
    return np.split(x, np.cumsum(sizes)[:-1])


class Chunk(NamedTuple):
    """Which part of a dense tensor a rank holds that has a chunk of its shard alone.

    Attributes
    ----------
    shard : Shard
    dim : int
        Of the shard; along it the chunks are cut.
    axes : str or tuple of str
        Over which they are.
    members : int
    """

    shard: Shard
    dim: int
    axes: Axes
    members: int

    def of(self, x: Array, where: Where) -> Array:
        """Return the rank's chunk of its shard."""
        mine = where.coordinate(self.axes)
        return Chunks(x.shape, self.dim).chunks(x, self.members)[mine]
