"""An axis of a sweep on the page: where its values stand, and how they are written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter, NullLocator
from numpy.typing import NDArray

from tspsim.files.numbers import plain
from tspsim.output.plots.paper import asked
from tspsim.sweeps.store import Row
from tspsim.sweeps.values import TIMES, label, number

#: Largest of an axis' numbers over the smallest one, from which the axis is logarithmic.
LOG_FROM = 4.0
#: Values written along an axis at most.
MOST_TICKS = 14
#: Letters of ticks to an inch, on a screen and in print.
LETTERS, PRINTED = 12, 16
_CALLED = {
    "workload.sequence": "sequence length [tokens]",
    "workload.batch": "batch [sequences]",
    "workload.prompt": "prompt [tokens]",
    "workload.cached": "cached [tokens of a sequence]",
    "workload.new_tokens": "new tokens",
    "workload.chunk": "piece of a prompt [tokens]",
    "link.bandwidth": "link bandwidth",
    "topology.link.bandwidth": "link bandwidth",
    "nic.bandwidth": "network bandwidth per NIC",
    "topology.nic.bandwidth": "network bandwidth per NIC",
    "device.memory": "memory of a device",
    "topology.device.memory": "memory of a device",
}


@dataclass(frozen=True, slots=True)
class Scale:
    """One axis of the page.

    Parameters
    ----------
    key : str
    values : tuple
        As in the scenario, in the order of the page.
    places : tuple of float
        Where they stand: numbers in SI units, or 0, 1, 2... for words.
    numeric, log : bool
    """

    key: str
    values: tuple[Any, ...]
    places: tuple[float, ...]
    numeric: bool
    log: bool

    def place(self, row: Row) -> int:
        """Return which of the values a row has."""
        return self.values.index(row.axes[self.key])

    @property
    def even(self) -> NDArray[np.float64]:
        """The places as they lie on the page: logarithms on a logarithmic axis."""
        places = np.array(self.places, float)
        return np.log2(places) if self.log else places

    def back(self, even: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return places of what `even` gives."""
        return np.exp2(even) if self.log else even

    def edges(self) -> NDArray[np.float64]:
        """Return the borders of cells around the values: half-way on the page."""
        even = self.even
        if len(even) == 1:
            return self.back(np.array([even[0] - 0.5, even[0] + 0.5]))
        middle = (even[1:] + even[:-1]) / 2
        first, last = 1.5 * even[0] - 0.5 * even[1], 1.5 * even[-1] - 0.5 * even[-2]
        return self.back(np.array([first, *middle, last]))

    def middle(self, index: int) -> float:
        """Return where the middle of a cell lies."""
        low, high = self.edges()[index : index + 2]
        return float((low * high) ** 0.5 if self.log else (low + high) / 2)

    def dress(self, ax: Axes, which: Literal["x", "y"]) -> None:
        """Set up an axis of the page: scale, ticks at the values, title."""
        if self.log:
            (ax.set_xscale if which == "x" else ax.set_yscale)("log", base=2)
        page = ax.xaxis if which == "x" else ax.yaxis
        step = -(-len(self.values) // MOST_TICKS)
        shown = range(0, len(self.values), step)
        texts = [written(self.values[i]) for i in shown]
        page.set_ticks([self.places[i] for i in shown], texts)
        page.set_minor_locator(NullLocator())
        page.set_minor_formatter(NullFormatter())
        if which == "x" and sum(len(text) + 1 for text in texts) > _letters(ax):
            ax.tick_params(axis="x", labelrotation=40)
        lower = which == "y" and asked() is not None  # than the text is long, on one line
        page.set_label_text(self.title.replace(" [", "\n[") if lower else self.title)

    @property
    def title(self) -> str:
        """What the axis is called on the page."""
        name = _CALLED.get(self.key, self.key)
        relative = self.numeric and any(label(value).startswith(TIMES) for value in self.values)
        return f"{name} [times that of the files]" if relative else name


def _letters(ax: Axes) -> float:
    """Return how many letters stand beside each other along axes; print has smaller ones."""
    inches = ax.get_window_extent().width / ax.figure.dpi
    return float((LETTERS if asked() is None else PRINTED) * inches)


def written(value: Any) -> str:
    """Return a value as people write it: ``128K``, ``1M``, ``64 GB/s``, ``x0.5``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return tokens(value)
    text = label(value)
    return text.removesuffix(".yaml") if isinstance(value, str) else text


def tokens(count: float) -> str:
    """Return a whole number in binary thousands where it is round in them: ``131072`` is 128K."""
    for unit, name in ((2**30, "G"), (2**20, "M"), (2**10, "K")):
        if count >= unit and (count / unit * 4).is_integer():
            return f"{plain(count / unit)}{name}"
    return plain(count, 12)


def scale(rows: Iterable[Row], key: str) -> Scale:
    """Return the axis of the page for the values that rows have."""
    told: dict[str, Any] = {}
    for row in rows:
        if row.axes.get(key) is not None:
            told.setdefault(label(row.axes[key]), row.axes[key])
    found = [(number(value), value) for value in told.values()]
    if not found or any(pair is None for pair, _ in found):
        return Scale(key, tuple(v for _, v in found), tuple(range(len(found))), False, False)
    numbers = sorted(((float(pair[0]), value) for pair, value in found if pair), key=lambda p: p[0])
    places = tuple(place for place, _ in numbers)
    values = tuple(value for _, value in numbers)
    return Scale(key, values, places, True, _is_log(places))


def _is_log(places: Sequence[float]) -> bool:
    return len(places) > 1 and places[0] > 0 and places[-1] / places[0] >= LOG_FROM
