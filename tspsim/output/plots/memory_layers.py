"""Memory by layer: whose activations fill a rank's device over the step."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Set
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.memory import Sorted, alive, over_time
from tspsim.output.plots.memory import GIB, MOMENTS, capacity_line, dress, thin
from tspsim.output.plots.paper import asked
from tspsim.output.plots.style import BESIDE, GREY, LAYERS, MEMORY, PALE_GREY, RESERVED, axes
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import chosen_rank
from tspsim.output.units import size, time, time_unit
from tspsim.program.types import BUFFER_KINDS

if TYPE_CHECKING:
    from tspsim.result import Result

NAME = "memory-layers"
#: Bands of layers at most: more cannot be told apart.
MOST = len(LAYERS)
#: Of activations of no layer: embedding, head, loss.
OUTSIDE = "activation, outside layers"
#: A band that never has this share of the peak would not be seen.
UNSEEN = 1e-3
#: Kinds of buffers that are named at the peak.
NAMED = 3


class Band(NamedTuple):
    """A band of the area: its bytes from moment to moment."""

    name: str
    colour: str
    amounts: NDArray[np.int64]


class Bands(NamedTuple):
    """The bands of a rank from the bottom up, and the moments from which amounts hold."""

    times: NDArray[np.float64]
    each: tuple[Band, ...]


def plot(result: Result, ax: Axes | None = None, *, rank: int | None = None) -> Axes:
    """Draw a rank's memory over time: activations by layer, all else by kind.

    Parameters
    ----------
    result : Result
    ax : Axes, optional
        Where to draw; a new figure when not given.
    rank : int, optional
        The rank with the highest peak when not given.
    """
    rank = chosen_rank(result, rank, result.memory.peak_rank)
    memory, device = result.memory.ranks[rank], result.scenario.topology.devices[rank]
    step, beside = result.timeline.step_time, sum(memory.beside(device).values())
    ax = axes(ax, 10.0, 4.5)
    _areas(ax, bands(result.timeline, rank), step, beside)
    top = capacity_line(ax, device.memory, memory.peak + beside)
    _mark_peak(ax, result, rank, beside)
    dress(ax, result.timeline, rank, top)
    set_title(ax, titled(result, f"memory of rank {rank} by layer"), pad=27)
    return ax


def bands(timeline: Timeline, rank: int) -> Bands:
    """Return what is alive on a rank over time: activations by layer, all else by kind.

    Neighbouring layers are one band where there are more than `MOST`.
    """
    buffers = timeline.programs.of(rank).buffers
    layers = {buffer.layer for buffer in buffers if buffer.kind == "activation"}
    named = _named({layer for layer in layers if layer is not None})
    order = list(dict.fromkeys([*BUFFER_KINDS, *named.values(), OUTSIDE]))
    order.append(order.pop(order.index("workspace")))  # it comes and goes: on top
    place = {name: number for number, name in enumerate(order)}
    of_layer = {layer: place[name] for layer, name in named.items()}
    places = [
        of_layer.get(b.layer, place[OUTSIDE]) if b.kind == "activation" else place[b.kind]
        for b in buffers
    ]
    times, amounts = over_time(timeline, rank, Sorted(np.array(places, np.int32), len(order)))
    colours = {**MEMORY, **_shades(list(dict.fromkeys(named.values()))), OUTSIDE: PALE_GREY}
    least = UNSEEN * int(amounts.sum(axis=0).max(initial=0))
    seen = zip(order, amounts, strict=True)
    return Bands(times, tuple(Band(n, colours[n], a) for n, a in seen if a.max() > least))


def _named(layers: Set[int]) -> dict[int | None, str]:
    """Return what the band of every layer is called."""
    groups = np.array_split(sorted(layers), max(1, min(len(layers), MOST)))
    return {layer: _span(group.tolist()) for group in groups for layer in group.tolist()}


def _span(layers: list[int]) -> str:
    """Return a band's name; chunks of a pipeline's stage lie apart."""
    breaks = [n for n in range(1, len(layers)) if layers[n] > layers[n - 1] + 1]
    ends = zip([0, *breaks], [*breaks, len(layers)], strict=True)
    runs = (dict.fromkeys((layers[first], layers[stop - 1])) for first, stop in ends)
    told = ", ".join(" to ".join(map(str, run)) for run in runs)
    return f"activation, layer{'s' if len(layers) > 1 else ''} {told}"


def _shades(names: list[str]) -> dict[str, str]:
    """Return colours from light to dark."""
    places = np.linspace(0, MOST - 1, len(names)).round().astype(int)
    if len(names) == 1:
        places = np.array([MOST // 2])
    return {name: LAYERS[place] for name, place in zip(names, places.tolist(), strict=True)}


def _areas(ax: Axes, found: Bands, step_time: float, beside: float) -> None:
    """Stack the bands, what runtime and libraries hold at the bottom."""
    scale, _ = time_unit(step_time)
    seen = thin(np.sum([band.amounts for band in found.each], axis=0, dtype=np.int64), MOMENTS)
    times = np.append(found.times[seen], step_time) / scale
    base = np.full(len(times), beside / GIB)
    if beside:
        ax.fill_between(times, base, color=RESERVED, lw=0, label=BESIDE)
    for band in found.each:
        top = base + band.amounts[np.append(seen, seen[-1])] / GIB
        ax.fill_between(
            times, base, top, step="post", color=band.colour, lw=0, label=band.name,
            rasterized=len(times) > MOMENTS // 2,
        )  # fmt: skip
        base = top


def _mark_peak(ax: Axes, result: Result, rank: int, beside: float) -> None:
    """Point at the peak and say what lives there."""
    memory, step = result.memory.ranks[rank], result.timeline.step_time
    scale, _ = time_unit(step)
    x, y = memory.peak_time / scale, (memory.peak + beside) / GIB
    right = memory.peak_time > 0.6 * step
    lines = [f"peak {size(memory.peak + beside)} at {time(memory.peak_time)}"]
    lines += _living(result.timeline, rank, memory.peak_time)
    ax.plot([x], [y], "o", color="black", ms=4, zorder=5)
    ha, va = ("right", "top") if right else ("left", "bottom")
    if asked():
        lines = lines[:1]  # no room for more
    ax.annotate(
        "\n".join(lines), (x, y), (-8, -8) if right else (8, 6), textcoords="offset points",
        ha=ha, va=va, fontsize=8,
        bbox={"boxstyle": "round", "fc": "white", "ec": GREY, "alpha": 0.85},
    )  # fmt: skip


def _living(timeline: Timeline, rank: int, moment: float) -> list[str]:
    """Return the buffers of most bytes at a moment, those of one name together.

    What lives all the time is no news there, unless there is nothing else to speak of.
    """
    buffers = alive(timeline, rank, moment)
    passing = [buffer for buffer in buffers if not buffer.lasting]
    seen = sum(b.bytes for b in passing) > 0.05 * sum(b.bytes for b in buffers)
    sizes: dict[tuple[str, str], list[int]] = defaultdict(list)
    for buffer in passing if seen else buffers:
        sizes[buffer.name, buffer.kind].append(buffer.bytes)
    largest = sorted(sizes.items(), key=lambda item: -sum(item[1]))[:NAMED]
    return [f"{len(b)} x {name}, {kind}: {size(sum(b))}" for (name, kind), b in largest]
