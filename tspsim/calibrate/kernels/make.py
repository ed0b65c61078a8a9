"""From measured rows to a table, with its error on rows that it has not seen."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.calibrate.kernels.grid import filled
from tspsim.calibrate.kernels.rows import Measured, Shapes, by_shape
from tspsim.topology.hardware import Device
from tspsim.topology.tables import STEPS, Table, TableKind

#: Part of the shapes that is left out to see the error, and the seed of their choice.
HELD_OUT, _SEED = 0.3, 0

#: Axis and smallest size of what errors are stated for: the sizes that training has.
_COUNTED: dict[TableKind, tuple[int, float]] = {
    "matmul": (0, 1024), "attention": (1, 1024), "attention_backward": (1, 1024),
    "decode_attention": (1, 1024), "mla": (1, 1024), "mla_backward": (1, 1024),
    "decode_mla": (1, 1024), "experts": (0, 64),
}  # fmt: skip

#: A size this near to a power of two that was measured too adds nothing; but tiles and waves of
#: matrix products show from the given size on, and there every size is kept.
_NEAR, _TILES = 1.3, 128


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
    error : float
        On those, of a table of all others.
    spread : float
        Slowest / fastest library less 1: 95 of 100 shapes that count have less.
    libraries : tuple of str
    """

    table: Table
    rows: int
    shapes: int
    residual: float
    held_out: int
    error: float
    spread: float
    libraries: tuple[str, ...]


def make(measured: Measured, device: Device) -> Made:
    """Return the table of some rows: at least `FEWEST` shapes."""
    shapes = by_shape(measured, device)
    order = np.random.default_rng(_SEED).permutation(len(shapes.logs))
    chosen = order < HELD_OUT * len(order)
    counted = _counted(measured.kind, shapes)
    counted = counted if (chosen & counted).any() else np.ones_like(chosen)
    held = chosen & counted
    table = _table(measured, shapes, np.ones_like(chosen))
    return Made(
        table, len(measured.seconds), len(shapes.logs), _error(table, shapes, counted),
        int(held.sum()), _error(_table(measured, shapes, ~chosen), shapes, held),
        float(np.quantile(shapes.apart[counted], 0.95)) - 1, tuple(np.unique(measured.library)),
    )  # fmt: skip


def _counted(kind: TableKind, shapes: Shapes) -> NDArray[np.bool_]:
    axis, least = _COUNTED.get(kind, (0, 0.0))
    return np.asarray(shapes.place[:, axis] >= least)


def _table(measured: Measured, shapes: Shapes, known: NDArray[np.bool_]) -> Table:
    """Return the table of the shapes that are known."""
    axes = [_sizes(measured.kind, column) for column in shapes.place.T]
    on_grid = [np.isin(column, axis) for column, axis in zip(shapes.place.T, axes, strict=True)]
    used = known & np.logical_and.reduce(on_grid)
    place = shapes.place[used].T
    cells = [np.searchsorted(axis, column) for axis, column in zip(axes, place, strict=True)]
    grid = np.full([len(axis) for axis in axes], np.nan)
    grid[tuple(cells)] = shapes.logs[used]
    whole = filled(grid, [np.log2(axis) for axis in axes])
    codes = np.clip(np.rint(whole * STEPS), -(2**15), 2**15 - 1).astype("<i2")
    sizes = tuple(tuple(axis.tolist()) for axis in axes)
    return Table(measured.kind, measured.dtype, sizes, codes.tobytes())


def _sizes(kind: TableKind, column: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sizes that an axis keeps."""
    known = np.unique(column)
    power = 2 ** np.rint(np.log2(known))
    near = np.maximum(known / power, power / known) < _NEAR
    dropped = near & (known != power) & np.isin(power, known)
    if kind == "matmul":
        dropped &= known < _TILES
    return np.asarray(known[~dropped])


def _error(table: Table, shapes: Shapes, which: NDArray[np.bool_]) -> float:
    """Return the mean absolute relative error of the times."""
    found = [table.at(tuple(place)) for place in shapes.place[which].tolist()]
    return float(np.mean(np.abs(2 ** shapes.logs[which] / np.array(found) - 1)))
