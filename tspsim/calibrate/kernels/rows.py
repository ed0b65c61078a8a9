"""Measured times of kernels as columns: where each lies on a table's axes, and what it asks for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tspsim.files.errors import UserError
from tspsim.topology.hardware import Device
from tspsim.topology.tables import AXES, TableKind

Column = NDArray[np.float64]

#: With fewer shapes than this there is nothing to interpolate between.
FEWEST = 8

#: Part of the stated bandwidth at which calls move what they read and write beside their kernel.
MOVED = 0.8

#: Times of one shape further apart than this factor are not of one kernel.
_APART = 2.0


@dataclass(frozen=True, slots=True, eq=False)
class Asked:
    """What kernels ask of a device, row by row.

    Parameters
    ----------
    place : array of shape (rows, axes)
        On the axes of the kind.
    flops, bytes : array of shape (rows,)
    """

    place: Column
    flops: Column
    bytes: Column


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """Rows of one kind and dtype.

    Parameters
    ----------
    kind : TableKind
    dtype : str
    asked : Asked
    seconds : array of shape (rows,)
    library : array of str, shape (rows,)
        Whose kernel each is.
    share : array of shape (rows,), optional
        Which part of the call that was timed `seconds` are: errors are those of calls. Not given:
        all of it.
    model : array of int, shape (rows,), optional
        Whose sizes each has: a table is also judged by how it does on a model that it has not seen.
    checks : tuple of (str, Measured)
        Rows that no table is made of, by what they are called.
    """

    kind: TableKind
    dtype: str
    asked: Asked
    seconds: Column
    library: NDArray[np.str_]
    share: Column | None = None
    model: NDArray[np.int64] | None = None
    checks: tuple[tuple[str, Measured], ...] = ()

    @property
    def label(self) -> str:
        """What its table is called."""
        return f"{self.kind} {self.dtype}"


@dataclass(frozen=True, slots=True, eq=False)
class Shapes:
    """One efficiency a shape.

    Of bf16 products it is the geometric mean of the libraries measured, and of grouped ones that of
    the rows of their one library. Of everything else it is that of the fastest: calls of serving
    libraries do other work beside the kernel (packing, rotary positions, amax and cast of
    activations), so that the mean is of no kernel.

    Parameters
    ----------
    place : array of shape (shapes, axes)
    logs : array of shape (shapes,)
        log2 of the efficiency.
    apart : array of shape (shapes,)
        Slowest / fastest library.
    share : array of shape (shapes,)
        Of the calls that were timed.
    model : array of int, shape (shapes,)
    """

    place: Column
    logs: Column
    apart: Column
    share: Column
    model: NDArray[np.int64]


def matmul(m: ArrayLike, n: ArrayLike, k: ArrayLike, *, itemsize: int) -> Asked:
    """Return what ``[m, k] x [k, n]`` asks for: a result of fp8 has two bytes."""
    m, n, k = _columns(m, n, k)
    bytes_ = itemsize * (m * k + k * n) + max(2, itemsize) * m * n
    return Asked(np.column_stack([m, n, k]), 2 * m * n * k, bytes_)


def attention(
    batch: ArrayLike,
    heads: ArrayLike,
    kv_heads: ArrayLike,
    sequence: ArrayLike,
    head_dim: ArrayLike,
    *,
    itemsize: int = 2,
) -> Asked:
    """Return what causal attention asks for; the mask counts half of the square, as `Work` does."""
    b, h, kv, s, d = _columns(batch, heads, kv_heads, sequence, head_dim)
    place = np.column_stack([b * h, s, h / kv, d])
    return Asked(place, 2 * b * h * s * s * d, 2 * itemsize * b * s * d * (h + kv))


def decode_attention(
    batch: ArrayLike, heads: ArrayLike, kv_heads: ArrayLike, cached: ArrayLike, head_dim: ArrayLike
) -> Asked:
    """Return what one query a sequence asks for, over `cached` tokens of two bytes a number."""
    b, h, kv, c, d = _columns(batch, heads, kv_heads, cached, head_dim)
    place = np.column_stack([b * kv, c, h / kv, d])
    return Asked(place, 4 * b * h * c * d, 4 * b * d * (kv * c + h))


#: Sizes of DeepSeek-V2's and V3's latent attention (arXiv 2405.04434): all that was measured.
_LATENT, _ROTARY, _HEAD = 512, 64, 128


def mla(batch: ArrayLike, heads: ArrayLike, sequence: ArrayLike) -> Asked:
    """Return what causal latent attention asks for, keys and values expanded."""
    b, h, s = _columns(batch, heads, sequence)
    width = 2 * _HEAD + _ROTARY
    place = np.column_stack([b * h, s])
    return Asked(place, b * h * s * s * width, 2 * b * h * s * 2 * width)


def decode_mla(batch: ArrayLike, heads: ArrayLike, cached: ArrayLike) -> Asked:
    """Return what one query a sequence asks for, on the latent cache that all heads share."""
    b, h, c = _columns(batch, heads, cached)
    width = 2 * _LATENT + _ROTARY
    place = np.column_stack([b, c, h])
    return Asked(place, 2 * b * h * c * width, 2 * b * (c * (_LATENT + _ROTARY) + h * width))


def experts(
    rows: ArrayLike, groups: ArrayLike, hidden: ArrayLike, inter: ArrayLike, *, itemsize: int
) -> Asked:
    """Return what the three products of gated expert MLPs ask for together: all are alike.

    A group is an expert that the rank holds; without a row of its own its weights stay unread. A
    result of fp8 has two bytes.
    """
    r, g, h, i = _columns(rows, groups, hidden, inter)
    place = np.column_stack([r / g, g, h * i])
    read = itemsize * (3 * np.minimum(g, r) * h * i + r * (2 * h + i))
    return Asked(place, 6 * r * h * i, read + max(2, itemsize) * r * (2 * i + h))


def _columns(*given: ArrayLike) -> tuple[Column, ...]:
    return tuple(np.asarray(column, dtype=np.float64) for column in given)


def roofline(asked: Asked, device: Device, dtype: str) -> Column:
    """Return the seconds that a device needs at least by what it states."""
    flops, bytes_ = asked.flops / device.peak(dtype), asked.bytes / device.memory_bandwidth
    return np.asarray(np.maximum(flops, bytes_))


def without(measured: Measured, beside: Column, device: Device) -> Measured:
    """Return rows less what else their calls did, in seconds; never less than the roofline."""
    least = roofline(measured.asked, device, measured.dtype)
    whole = measured.seconds
    left = np.maximum(whole - beside, np.minimum(least, whole))
    return replace(measured, seconds=left, share=left / whole)


def count_shapes(measured: Measured) -> int:
    """Return of how many shapes the rows are."""
    return len(np.unique(measured.asked.place, axis=0))


def by_shape(measured: Measured, device: Device) -> Shapes:
    """Return one efficiency a shape."""
    logs = np.log2(roofline(measured.asked, device, measured.dtype) / measured.seconds)
    keys, cell = np.unique(measured.asked.place, axis=0, return_inverse=True)
    libraries, library = np.unique(measured.library, return_inverse=True)
    pair = cell.ravel() * len(libraries) + library
    pairs, member = np.unique(pair, return_inverse=True)
    each = np.bincount(member, logs) / np.bincount(member)
    shape = pairs // len(libraries)
    low, high = np.full(len(keys), np.inf), np.full(len(keys), -np.inf)
    np.minimum.at(low, shape, each)
    np.maximum.at(high, shape, each)
    middle = np.bincount(shape, each) / np.bincount(shape)
    pure = measured.label == "matmul bf16" or measured.kind == "grouped"
    given = np.ones(len(logs)) if measured.share is None else measured.share
    share = np.bincount(cell.ravel(), given) / np.bincount(cell.ravel())
    model = np.zeros(len(keys), dtype=np.int64)
    if measured.model is not None:
        model[cell.ravel()] = measured.model
    return Shapes(keys, middle if pure else high, 2 ** (high - low), share, model)


def check_agreement(measured: Measured, places: Sequence[str], origin: str) -> None:
    """Raise when times of one shape are more than twice apart.

    Of four or more the middle half counts: the first calls of a run are often slow.

    Raises
    ------
    UserError
        It names the shape and the places of the two times.
    """
    keys, cell = np.unique(measured.asked.place, axis=0, return_inverse=True)
    for index, key in enumerate(keys):
        (rows,) = np.nonzero(cell.ravel() == index)
        ordered = rows[np.argsort(measured.seconds[rows])]
        skipped = len(ordered) // 4
        first, last = ordered[skipped], ordered[len(ordered) - 1 - skipped]
        fast, slow = measured.seconds[first], measured.seconds[last]
        if slow > _APART * fast:
            named = ", ".join(f"{a} {v:g}" for a, v in zip(AXES[measured.kind], key, strict=True))
            raise UserError(
                f"{origin}: {measured.label}, {named}: {fast * 1e6:.4g} us ({places[first]}) "
                f"and {slow * 1e6:.4g} us ({places[last]}) contradict each other; rows of one "
                f"shape may be at most {_APART:g} times apart"
            )
