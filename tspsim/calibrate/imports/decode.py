"""Decode attention among rows of ``aiconfigurator-core``: what they ask for, and which can count.

A row is one new token of every sequence, against a cache of ``step`` tokens before it. Not every
library was timed at every shape. A table of the fastest of all jumps where that one is missing; so
only libraries count that are about as fast as each other, on the shapes of all.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tspsim.calibrate.kernels import rows
from tspsim.calibrate.kernels.rows import Asked, Column, Measured, roofline
from tspsim.topology.hardware import Device

#: Bytes that no second-level cache keeps from one call to the next: they come from memory.
_FROM_MEMORY = 256e6

#: Part of a library's calls that may seem faster than memory: slips of a clock.
_SLIPS = 0.05

#: How much slower than the fastest a library may be on the median of the shapes of all.
_BESIDE = 1.08

#: Axis and smallest size of the shapes that say it: shorter caches are a matter of launches.
_CACHED, _LONG = 1, 1024


def attention(batch: Column, heads: Column, kv_heads: Column, step: Column, width: Column) -> Asked:
    """Return what decode attention asks for; the new token is in the cache, too."""
    return rows.decode_attention(batch, heads, kv_heads, step + 1, width)


def latent(batch: Column, heads: Column, step: Column) -> Asked:
    """Return what decoding of latent attention asks for, likewise."""
    return rows.decode_mla(batch, heads, step + 1)


def alike(measured: Measured, device: Device) -> Measured:
    """Return the rows of the libraries that are as fast as the fastest, and that can be true.

    Calls that read their cache faster than the memory states are none; a library that has many of
    them was timed with something else, and is left out with all of its rows.
    """
    states = roofline(measured.asked, device, measured.dtype)
    read = measured.asked.bytes > _FROM_MEMORY
    impossible = read & (measured.seconds < states)
    names, library = np.unique(measured.library, return_inverse=True)
    reading = np.maximum(np.bincount(library, read, len(names)), 1)
    slips = np.bincount(library, impossible, len(names)) / reading
    true = _only(measured, ~impossible & (slips <= _SLIPS)[library])
    return _only(true, np.isin(true.library, _fast(true)))


def _only(measured: Measured, kept: NDArray[np.bool_]) -> Measured:
    asked = measured.asked
    return replace(
        measured,
        asked=replace(
            asked, place=asked.place[kept], flops=asked.flops[kept], bytes=asked.bytes[kept]
        ),
        seconds=measured.seconds[kept],
        library=measured.library[kept],
    )


def _fast(measured: Measured) -> list[str]:
    """Return the libraries that are about as fast as the fastest."""
    names = np.unique(measured.library)
    times = _by_library(measured, names)
    shared = times[np.isfinite(times).all(axis=1)]
    if not len(shared):
        return [str(name) for name in names]
    slower = np.median(shared / shared.min(axis=1, keepdims=True), axis=0)
    return [str(name) for name in names[slower <= _BESIDE * slower.min()]]


def _by_library(measured: Measured, names: NDArray[np.str_]) -> Column:
    """Return the fastest time of every long shape, a library a column; infinite: none."""
    long = measured.asked.place[:, _CACHED] >= _LONG
    keys, shape = np.unique(measured.asked.place[long], axis=0, return_inverse=True)
    times = np.full((len(keys), len(names)), np.inf)
    column = np.searchsorted(names, measured.library[long])
    np.minimum.at(times, (shape.ravel(), column), measured.seconds[long])
    return times
