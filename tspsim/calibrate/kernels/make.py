"""From measured rows to a table, with its error on rows that it has not seen."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.calibrate.kernels.grid import filled
from tspsim.calibrate.kernels.rows import Measured, Shapes, by_shape
from tspsim.topology.hardware import Device
from tspsim.topology.tables import AXES, STEPS, Table, TableKind

#: Part of the shapes that is left out to see the error, and the seed of their choice.
HELD_OUT, _SEED = 0.3, 0

#: Axis and smallest size of what errors are stated for: the sizes that training has.
_COUNTED: dict[TableKind, tuple[int, float]] = {
    "matmul": (0, 1024), "attention": (1, 1024), "attention_backward": (1, 1024),
    "decode_attention": (1, 1024), "mla": (1, 1024), "mla_backward": (1, 1024),
    "decode_mla": (1, 1024), "grouped": (0, 64),
}  # fmt: skip

#: Axes, and where their ranges begin, that errors are also stated for one by one: decoding has few
#: rows and few or many sequences, and caches of all lengths.
_RANGES: dict[TableKind, tuple[tuple[int, tuple[int, ...]], ...]] = {
    "matmul": ((0, (1, 16, 64, 256, 1024)),),
    "decode_attention": ((0, (1, 8, 64, 512)), (1, (1, 128, 1024, 8192, 65536))),
    "decode_mla": ((0, (1, 8, 64, 512)), (1, (1, 128, 1024, 8192, 65536))),
}

#: Steps a doubling that sizes are rounded to, by axis: experts of two models have hardly a shape in
#: common. Of the shapes of one cell the mean counts.
_STEPS: dict[TableKind, tuple[int, ...]] = {"grouped": (1, 1, 2)}

#: A size this near to a power of two that was measured too adds nothing; but tiles and waves of
#: matrix products show from the given size on, and there every size is kept.
_NEAR, _TILES = 1.3, 128


class Check(NamedTuple):
    """How far a table is off on rows that it has nothing of: predicted over measured, less 1.

    Attributes
    ----------
    shapes : int
    bias, median, error : float
        Median of the deviations; median and mean of their sizes.
    """

    shapes: int
    bias: float
    median: float
    error: float


@dataclass(frozen=True, slots=True)
class Made:
    """A table and how good it is.

    Parameters
    ----------
    table : Table
    rows, shapes : int
        Measured times, and shapes that they are of.
    residual : float
        Mean absolute relative error on the shapes that count, all of which it has seen.
    held_out : int
        Shapes that count and were left out.
    error, median : float
        On those, of a table of all others.
    spread : float
        Slowest / fastest library less 1: 95 of 100 shapes that count have less.
    libraries : tuple of str
    checks : tuple of (str, Check)
        How far a table is off on rows that it has not seen, by what they are called.
    """

    table: Table
    rows: int
    shapes: int
    residual: float
    held_out: int
    error: float
    median: float
    spread: float
    libraries: tuple[str, ...]
    checks: tuple[tuple[str, Check], ...] = ()


def make(measured: Measured, device: Device) -> Made:
    """Return the table of some rows: at least `FEWEST` shapes."""
    shapes = by_shape(measured, device)
    order = np.random.default_rng(_SEED).permutation(len(shapes.logs))
    chosen = order < HELD_OUT * len(order)
    counted = _counted(measured.kind, shapes)
    counted = counted if (chosen & counted).any() else np.ones_like(chosen)
    held = chosen & counted
    table = _table(measured, shapes, np.ones_like(chosen))
    seen = np.abs(_deviations(table, shapes, counted))
    others = _table(measured, shapes, ~chosen)
    unseen = np.abs(_deviations(others, shapes, held))
    return Made(
        table, len(measured.seconds), len(shapes.logs), float(np.mean(seen)), int(held.sum()),
        float(np.mean(unseen)), float(np.median(unseen)),
        float(np.quantile(shapes.apart[counted], 0.95)) - 1, tuple(np.unique(measured.library)),
        (
            *_by_range(others, shapes, chosen), *_unseen_models(measured, shapes, counted),
            *_checks(table, measured, device),
        ),
    )  # fmt: skip


def _by_range(
    others: Table, shapes: Shapes, chosen: NDArray[np.bool_]
) -> Iterator[tuple[str, Check]]:
    """Yield how far a table of the other shapes is off on those left out, range by range."""
    for axis, starts in _RANGES.get(others.kind, ()):
        name, sizes = AXES[others.kind][axis], shapes.place[:, axis]
        for start, stop in zip(starts, (*starts[1:], math.inf), strict=True):
            inside = chosen & (start <= sizes) & (sizes < stop)
            if inside.any():
                end = f"{start} to {stop - 1:.0f}" if stop < math.inf else f"from {start}"
                yield f"{name} {end}", _check(_deviations(others, shapes, inside))


def _checks(table: Table, measured: Measured, device: Device) -> Iterator[tuple[str, Check]]:
    for name, rows in measured.checks:
        shapes = by_shape(rows, device)
        yield name, _check(_deviations(table, shapes, _counted(rows.kind, shapes)))


def as_product(measured: Measured, products: Table, device: Device) -> Check:
    """Return how far grouped products are off as products of all their rows with one matrix."""
    shapes = by_shape(measured, device)
    rows_per_group, groups, matrix = shapes.place.T
    side = np.sqrt(matrix)
    alike = replace(shapes, place=np.column_stack([rows_per_group * groups, side, side]))
    return _check(_deviations(products, alike, _counted(measured.kind, shapes)))


def _unseen_models(
    measured: Measured, shapes: Shapes, counted: NDArray[np.bool_]
) -> Iterator[tuple[str, Check]]:
    """Yield how far off a table of all other models is on each."""
    if measured.model is None:
        return
    each = [shapes.model == model for model in np.unique(shapes.model)]
    found = [
        _deviations(_table(measured, shapes, ~its), shapes, its & counted)
        for its in each
        if (its & counted).any()
    ]
    yield "unseen models", _check(np.concatenate(found))


def _check(off: NDArray[np.float64]) -> Check:
    sizes = np.abs(off)
    return Check(len(off), float(np.median(off)), float(np.median(sizes)), float(np.mean(sizes)))


def _counted(kind: TableKind, shapes: Shapes) -> NDArray[np.bool_]:
    axis, least = _COUNTED.get(kind, (0, 0.0))
    return np.asarray(shapes.place[:, axis] >= least)


def _table(measured: Measured, shapes: Shapes, known: NDArray[np.bool_]) -> Table:
    """Return the table of the shapes that are known."""
    places = _rounded(measured.kind, shapes.place).T
    axes = [_sizes(measured.kind, column) for column in places]
    on_grid = [np.isin(column, axis) for column, axis in zip(places, axes, strict=True)]
    used = known & np.logical_and.reduce(on_grid)
    cells = [np.searchsorted(axis, column[used]) for axis, column in zip(axes, places, strict=True)]
    grid = _means(cells, shapes.logs[used], [len(axis) for axis in axes])
    whole = filled(grid, [np.log2(axis) for axis in axes])
    codes = np.clip(np.rint(whole * STEPS), -(2**15), 2**15 - 1).astype("<i2")
    sizes = tuple(tuple(axis.tolist()) for axis in axes)
    return Table(measured.kind, measured.dtype, sizes, codes.tobytes())


def _rounded(kind: TableKind, place: NDArray[np.float64]) -> NDArray[np.float64]:
    if kind not in _STEPS:
        return place
    steps = np.array(_STEPS[kind])
    return np.asarray(2 ** (np.rint(steps * np.log2(place)) / steps))


def _means(
    cells: Sequence[NDArray[np.int64]], values: NDArray[np.float64], sizes: Sequence[int]
) -> NDArray[np.float64]:
    """Return a grid with the mean of the values of every cell; NaN where there are none."""
    flat, count = np.ravel_multi_index(tuple(cells), sizes), math.prod(sizes)
    total, number = np.bincount(flat, values, count), np.bincount(flat, minlength=count)
    return np.where(number > 0, total / np.maximum(number, 1), np.nan).reshape(sizes)


def _sizes(kind: TableKind, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sizes that an axis keeps."""
    known = np.unique(column)
    power = 2 ** np.rint(np.log2(known))
    near = np.maximum(known / power, power / known) < _NEAR
    dropped = near & (known != power) & np.isin(power, known)
    if kind == "matmul":
        dropped &= known < _TILES
    return np.asarray(known[~dropped])


def _deviations(table: Table, shapes: Shapes, which: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return predicted over measured times of the calls, less 1."""
    found = [table.at(tuple(place)) for place in shapes.place[which].tolist()]
    return np.asarray(shapes.share[which] * (2 ** shapes.logs[which] / np.array(found) - 1))
