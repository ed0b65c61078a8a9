"""The picture of a fitted profile: above, rows and what the profile says; below, how far apart."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tspsim.calibrate.published import curves, protocols
from tspsim.calibrate.published.fit import Fitted, FittedCurve
from tspsim.calibrate.published.rows import Call
from tspsim.output.plots.style import BLUE, DARK, GREEN, PURPLE, VERMILLION

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_PANELS = (("matmul",), ("attention", "attention_backward"), ("elementwise",))
_TITLES = ("Matmul", "Attention", "Element-wise", "Collectives in a node")
#: Colours and marks: in print without colour the marks tell.
_LOOKS = {
    "matmul": (BLUE, "o"),
    "attention": (BLUE, "o"),
    "attention_backward": (VERMILLION, "s"),
    "elementwise": (BLUE, "o"),
}
_KINDS = {
    "all_reduce": (BLUE, "o"),
    "all_gather": (VERMILLION, "s"),
    "reduce_scatter": (GREEN, "^"),
    "all_to_all": (PURPLE, "D"),
    "shift": (DARK, "v"),
}


def draw(fitted: Fitted, path: Path) -> None:
    """Draw a profile, its rows and its residuals into a PNG file."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(16, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(2, 4, sharex="col", height_ratios=(3, 1.4), squeeze=False)
    parts = {part.recipe.curve: part for part in fitted.curves}
    for column, panel in enumerate(_PANELS):
        for curve in panel:
            if curve in parts:
                _curve(parts[curve], fitted.recipe.device, axes[0, column], axes[1, column])
        _dress_curve(axes[0, column], axes[1, column], panel[0])
    _collectives(fitted, axes[0, 3], axes[1, 3])
    for column, title in enumerate(_TITLES):
        axes[0, column].set_title(title, fontsize=11)
        corner = "lower right" if column < len(_PANELS) else "upper left"
        axes[0, column].legend(fontsize=7.5, loc=corner, framealpha=0.9)
        _dress_deviation(axes[1, column])
    axes[1, 0].set_ylabel("time, predicted / measured - 1", fontsize=9)
    figure.suptitle(
        f"{fitted.recipe.name}: what was published, and the profile fitted to it", fontsize=13
    )
    figure.savefig(path, dpi=110)


def _curve(part: FittedCurve, device: str, above: Axes, below: Axes) -> None:
    """Draw a curve and its points; open points are another device's."""
    colour, shape = _LOOKS[part.recipe.curve]
    name = part.recipe.curve.replace("_", " ").replace("elementwise", "element-wise")
    stand_in = part.recipe.device != device
    sizes = [p.size for p in part.points if p.size] or [1e9, 1e13]
    line = np.geomspace(min(sizes) / 2, max(sizes) * 2, 200)
    above.plot(line, [part.curve.at(x) for x in line], color=colour, lw=1.6, label=name)
    whose = f"rows of {part.recipe.device}" if stand_in else "rows"
    whose += ", scaled" if part.recipe.scaled else ""
    whose += ", size not stated" if part.points[0].size is None else ""
    middle = float(np.sqrt(line[0] * line[-1]))
    for points, filled, label in (
        (part.points, not stand_in, whose),
        (part.own, True, "own rows, not fitted"),
    ):
        if not points:
            continue
        x = [p.size or middle for p in points]
        style = _marks(colour, filled)
        mark = "D" if points is part.own else shape
        above.plot(x, [p.efficiency for p in points], mark, label=label, **style)
        below.plot(x, [100 * curves.deviation(part.curve, p) for p in points], mark, **style)


def _dress_curve(above: Axes, below: Axes, curve: str) -> None:
    from matplotlib.ticker import EngFormatter

    above.set_xscale("log")
    below.xaxis.set_major_formatter(EngFormatter())  # "10 M", "1 T"
    above.set_ylim(0, 1)
    above.set_ylabel("achieved / stated rate")
    below.set_xlabel("bytes moved" if curve == "elementwise" else "flops of the call")


def _collectives(fitted: Fitted, above: Axes, below: Axes) -> None:
    topology = fitted.topology
    for name, calls in _sets(fitted):
        colour, mark = _KINDS[calls[0].kind]
        x = [call.bytes for call in calls]
        measured = [call.bus_bandwidth / 1e9 for call in calls]
        filled = calls[0] in fitted.fitted
        style = _marks(colour, filled)
        above.plot(x, measured, mark, label=name, **style)
        sizes = np.geomspace(min(2**18, *x) / 2, 2**35, 150)
        lines = [_sized(calls[-1], size) for size in sizes]
        predicted = [c.bus_bandwidth * c.seconds / protocols.predict(c, topology) for c in lines]
        above.plot(sizes, np.array(predicted) / 1e9, color=colour, lw=1.4)
        apart = [100 * (protocols.predict(call, topology) / call.seconds - 1) for call in calls]
        below.plot(x, apart, mark, **style)
    above.set_xscale("log", base=2)
    above.set_ylim(0, 1.6 * above.get_ylim()[1])  # room for the legend
    above.set_ylabel("bus bandwidth, GB/s")
    below.set_xlabel("bytes of the message")
    ticks = [2**k for k in range(10, 36, 5)]
    below.set_xticks(ticks, ["1 KiB", "32 KiB", "1 MiB", "32 MiB", "1 GiB", "32 GiB"])
    below.minorticks_off()


def _marks(colour: str, filled: bool) -> dict[str, Any]:
    return {"color": colour, "ls": "", "ms": 5, "mfc": colour if filled else "white"}


def _sized(call: Call, size: float) -> Call:
    return Call(
        call.device, call.source, call.kind, call.algorithm, call.ranks, int(size), call.seconds
    )


def _sets(fitted: Fitted) -> list[tuple[str, list[Call]]]:
    """Return the calls that belong together, with a name for the legend.

    Of the node alone, and of each source those over most devices: more would hide each other.
    """
    elsewhere = {
        (part.source, part.kind, part.algorithm)
        for part in fitted.recipe.fitted
        if part.setup or part.by
    }
    found = []
    for calls, what in ((fitted.fitted, "fitted"), (fitted.checked, "not fitted")):
        here = [c for c in calls if (c.source, c.kind, c.algorithm) not in elsewhere]
        for (kind, source), group in groupby(sorted(here, key=_key), key=_key):
            some = list(group)
            most = max(call.ranks for call in some)
            name = f"{kind.replace('_', '-')}: {source}, {most} devices, {what}"
            found.append((name, [call for call in some if call.ranks == most]))
    return found


def _key(call: Call) -> tuple[str, str]:
    return call.kind, call.source


def _dress_deviation(axes: Axes) -> None:
    axes.axhline(0, color="black", lw=0.8)
    axes.grid(alpha=0.3)
    most = max([5.0, *(abs(y) for line in axes.lines for y in _values(line.get_ydata()))])
    axes.set_ylim(-1.15 * most, 1.15 * most)
    axes.yaxis.set_major_formatter("{x:+.0f} %")


def _values(data: object) -> Sequence[float]:
    return [float(y) for y in np.atleast_1d(np.asarray(data, dtype=float))]
