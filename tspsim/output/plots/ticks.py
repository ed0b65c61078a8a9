"""How numbers stand on axes: as everywhere else, with thousands apart and no power of ten."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.axis import Axis
from matplotlib.ticker import FuncFormatter, NullFormatter

from tspsim.files.numbers import plain

#: A tick this much smaller than the axis is a zero with the noise of rounding.
NOISE = 1e-14


def plain_ticks(*axes: Axis) -> None:
    """Write the ticks of some axes in full."""
    for axis in axes:
        axis.set_major_formatter(FuncFormatter(_written(axis)))
        axis.set_minor_formatter(NullFormatter())


def _written(axis: Axis) -> Callable[[float, int | None], str]:
    def written(value: float, _: int | None) -> str:
        largest = max(map(abs, axis.get_view_interval()))
        return plain(0.0 if abs(value) < NOISE * largest else value).replace("-", "−")

    return written
