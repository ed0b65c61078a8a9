"""The figures of a sweep: which may be drawn, in which unit, and which end is the better one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from tspsim.files.errors import UserError, did_you_mean
from tspsim.output.units import time_unit
from tspsim.sweeps.speed import SERVED
from tspsim.sweeps.store import Row, Store

#: What is drawn where nobody says it.
DEFAULT = "tokens_per_second_per_device"
#: Figures of which more is better.
_MORE = ("tokens_per_second", "tokens_per_second_per_device", "mfu", "hfu", *SERVED)
_CALLED = {
    "tokens_per_second": "throughput [tokens/s]",
    "tokens_per_second_per_device": "throughput [tokens/s/device]",
    "memory.peak": "peak memory [GiB]",
    "mfu": "MFU [%]",
    "hfu": "HFU [%]",
    "inference.output_tokens_per_second": "output rate [tokens/s]",
    "inference.prompt_tokens_per_second": "rate of prompts [tokens/s]",
    "inference.cache": "cache of a rank [GiB]",
    "inference.fitting": "sequences that fit",
}


#: Times that a user of a model sees.
_SEEN = (
    "inference.time_to_first_token", "inference.time_per_token", "inference.latency",
)  # fmt: skip


class Figure(NamedTuple):
    """A column of the table, as it is drawn.

    Attributes
    ----------
    name : str
        Of the column.
    title : str
        With the unit.
    scale : float
        What one of that unit is in SI units.
    more : bool
        Whether more is better.
    """

    name: str
    title: str
    scale: float
    more: bool

    def of(self, row: Row) -> float:
        """Return the figure of a row, in its unit."""
        return float(row.figures[self.name]) / self.scale

    def best(self, rows: Iterable[Row]) -> Row:
        """Return the row with the best figure, the first one of equals."""
        return (max if self.more else min)(rows, key=self.of)

    def gain(self, better: float, worse: float) -> float:
        """Return by which fraction a figure is better than another."""
        return better / worse - 1 if self.more else worse / better - 1


def figure(store: Store, name: str | None = None) -> Figure:
    """Return a figure of a sweep; when no name is given throughput, per device but in inference.

    Raises
    ------
    UserError
        When the sweep has no such figure, it is no number, or a point that ran has none.
    """
    rows = [row for row in store.rows() if row.figures]
    served = (each for each in SERVED if rows and all(each in row.figures for row in rows))
    name = name or next(served, DEFAULT)
    if not rows:
        raise UserError(f"{store.place}: no point of this sweep ran; there is nothing to draw")
    known = [k for k, v in rows[0].figures.items() if isinstance(v, float | int) and k != "fits"]
    if name not in known:
        told = f"'{name}' is no figure of this sweep{did_you_mean(name, known)}"
        raise UserError(f"{told}; figures: {', '.join(known)}")
    if lacking := [row.id for row in rows if row.figures.get(name) is None]:
        told = f"'{name}' is not known of every point that ran, such as point {lacking[0]}"
        raise UserError(f"{told}; narrow the map to those that have it, or choose another figure")
    largest = max(abs(float(row.figures[name])) for row in rows)
    return Figure(name, *_unit(name, largest), name in _MORE)


def _unit(name: str, largest: float) -> tuple[str, float]:
    """Return the title and the scale of a figure."""
    title, scale = _CALLED.get(name, ""), 1.0
    if name in ("step_time", *_SEEN) or name.startswith("time."):
        scale, unit = time_unit(largest)
        short = name.removeprefix("time.").removeprefix("inference.")
        title = f"{short.replace('_', ' ')} [{unit}]"
    elif name == "inference.cache" or name.startswith(("memory.", "communication.")):
        scale = 2.0**30
        title = title or f"{name.removeprefix('memory.').replace('_', ' ')} [GiB]"
    elif name in ("mfu", "hfu"):
        scale = 0.01
    return title or name, scale
