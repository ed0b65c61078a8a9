"""Measured kernels: the efficiency of a kind of work over its shape, between rows and beyond."""

from __future__ import annotations

import bisect
import math
import sys
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

from tspsim.program.types import Work

TableKind = Literal[
    "matmul",
    "grouped",
    "attention",
    "attention_backward",
    "decode_attention",
    "mla",
    "mla_backward",
    "decode_mla",
]

#: What the axes of a table are, by kind; each is read on a logarithmic scale. A block is one head
#: of one sequence; a group is the query heads that share a key/value head. Of grouped products a
#: group is an expert with its rows, and the matrix its own one, in elements. Decoding has one query
#: a sequence; ``cached`` tokens are what it sees, itself among them.
AXES: dict[TableKind, tuple[str, ...]] = {
    "matmul": ("m", "n", "k"),
    "grouped": ("rows_per_group", "groups", "matrix"),
    "attention": ("blocks", "sequence", "group", "head_dim"),
    "attention_backward": ("blocks", "sequence", "group", "head_dim"),
    "decode_attention": ("kv_blocks", "cached", "group", "head_dim"),
    "mla": ("blocks", "sequence"),
    "mla_backward": ("blocks", "sequence"),
    "decode_mla": ("sequences", "cached", "heads"),
}

#: Widths of a head's keys and values that latent attention was measured with, DeepSeek-V2's and
#: V3's: expanded, and on the latent cache that all heads share.
_EXPANDED, _ABSORBED = (192, 128), (576, 512)
_OF_LATENT: dict[tuple[str, tuple[int, ...]], TableKind] = {
    ("attention", _EXPANDED): "mla",
    ("attention_backward", _EXPANDED): "mla_backward",
    ("decode_attention", _ABSORBED): "decode_mla",
}

#: Rows of queries that share a key/value head and fill a tile of a kernel, which has nothing to do
#: but read the cache; as many were measured. With more of them attention is that of a prompt.
_TILE = 128

#: A code is log2(efficiency) in this many steps a halving: exact to 0.3 %.
STEPS = 128


@dataclass(frozen=True, slots=True)
class Table:
    """Efficiency against the roofline of one kind of kernel, on a grid of shapes.

    The roofline is ``max(flops / peak, bytes / bandwidth)``; efficiency is that over the measured
    seconds. Its logarithm is linear between grid points in the logarithm of each axis. Beyond the
    grid the roofline extrapolates, with the efficiency of the nearest edge.

    Parameters
    ----------
    kind : TableKind
    dtype : str
        Of what is multiplied.
    axes : tuple of tuple of float
        Increasing sizes along each of ``AXES[kind]``.
    codes : bytes
        Signed 16-bit little-endian ``log2(efficiency) * STEPS``, the last axis fastest.
    factor : float
        Multiplies every efficiency: what another kernel reaches of this one's.
    """

    kind: TableKind
    dtype: str
    axes: tuple[tuple[float, ...], ...]
    codes: bytes
    factor: float = 1.0
    _codes: array[int] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        codes = array("h", self.codes)
        if sys.byteorder == "big":
            codes.byteswap()
        assert len(codes) == math.prod(map(len, self.axes))
        object.__setattr__(self, "_codes", codes)

    def at(self, place: tuple[float, ...]) -> float:
        """Return the efficiency at a place on the axes."""
        offset, ways = 0, []
        for axis, value in zip(self.axes, place, strict=True):
            index, share = _between(axis, value)
            offset = offset * len(axis) + index
            ways.append(((0, 1.0 - share), (1, share)) if share else ((0, 1.0),))
        strides = [1]
        for axis in reversed(self.axes[1:]):
            strides.append(strides[-1] * len(axis))
        strides.reverse()
        code = 0.0
        for corner in product(*ways):
            step = sum(up * stride for (up, _), stride in zip(corner, strides, strict=True))
            code += math.prod(weight for _, weight in corner) * self._codes[offset + step]
        return self.factor * math.exp2(code / STEPS)

    def of(self, work: Work) -> float:
        """Return the efficiency of a piece of work of this kind."""
        place = _PLACES[self.kind](work)
        if AXES[self.kind][1] == "sequence" and place[1] > self.axes[1][-1]:
            longer = place[1] / self.axes[1][-1]
            place = (place[0] * longer, self.axes[1][-1], *place[2:])
        return self.at(place)


def _between(axis: tuple[float, ...], value: float) -> tuple[int, float]:
    """Return the grid point at or below a value, and how far towards the next one it lies."""
    if value <= axis[0]:
        return 0, 0.0
    if value >= axis[-1]:
        return len(axis) - 1, 0.0
    index = bisect.bisect_right(axis, value) - 1
    low, high = axis[index], axis[index + 1]
    return index, math.log(value / low) / math.log(high / low)


def _of_matmul(work: Work) -> tuple[float, ...]:
    m, k, n = work.shape[:3]
    return m, n, k


def _of_grouped(work: Work) -> tuple[float, ...]:
    rows, groups, k, n = work.shape[:4]
    return rows / groups, groups, k * n


#: Products of an attention kernel over the width of keys, and of values.
_PRODUCTS = {"attention": (1, 1), "attention_backward": (3, 2), "cached_attention": (1, 1)}


def _of_attention(work: Work) -> tuple[float, ...]:
    """Return the place of the causal square with as many flops per block.

    Shards have other numbers of queries than of keys, and masks of other forms: q queries that
    all see k keys count as a causal sequence of ``sqrt(2 q k)``. A sequence longer than any
    measured has as many tiles as the longest one with more blocks. Where keys and values differ in
    width, the mean over all products counts.
    """
    batch, heads, kv_heads, _, _, keys, _, values = work.shape
    of_keys, of_values = _PRODUCTS[work.curve]
    products, blocks = of_keys + of_values, batch * heads
    width = (of_keys * keys + of_values * values) / products
    sequence = math.sqrt(2 * work.flops / (2 * products * blocks * width))
    return blocks, sequence, heads / kv_heads, width


def _of_latent(work: Work) -> tuple[float, ...]:
    return _of_attention(work)[:2]


def _of_decode(work: Work) -> tuple[float, ...]:
    """Return the place of new tokens that see a cache; several count as more heads of a group.

    A query sees as many keys as its flops say: a window leaves some out, and of sequences of
    several lengths the mean counts.
    """
    batch, heads, kv_heads, queries, _, keys, _, values = work.shape
    width = keys + values
    seen = work.flops / (2 * batch * heads * queries * width)
    return batch * kv_heads, seen, queries * heads / kv_heads, width / 2


def _of_latent_decode(work: Work) -> tuple[float, ...]:
    return _of_decode(work)[:3]


def kinds_of(work: Work) -> tuple[str, ...]:
    """Return the kinds of tables in which a piece of work is looked up, the first one first."""
    kind = work.curve
    if kind == "cached_attention":
        _, heads, kv_heads, queries = work.shape[:4]
        few = queries == 1 or queries * heads <= _TILE * kv_heads
        kind = "decode_attention" if few else "attention"
    special = _OF_LATENT.get((kind, work.shape[5::2]))
    return (special, kind) if special else (kind,)


#: Where a piece of work lies.
_PLACES: dict[str, Callable[[Work], tuple[float, ...]]] = {
    "matmul": _of_matmul,
    "grouped": _of_grouped,
    "attention": _of_attention,
    "attention_backward": _of_attention,
    "mla": _of_latent,
    "mla_backward": _of_latent,
    "decode_attention": _of_decode,
    "decode_mla": _of_latent_decode,
}
