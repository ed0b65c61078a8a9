"""Which part of a run a gantt chart shows: a stretch of time and some ranks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from tspsim.engine.timeline import Timeline
from tspsim.files.errors import UserError
from tspsim.output.plots.paper import asked
from tspsim.output.units import time

if TYPE_CHECKING:
    from tspsim.result import Result

#: Compute tasks of a rank up to which the whole step is drawn; and how many a cut should hold, so
#: that their bars are wide enough for names.
WHOLE, READABLE = 400, 150
#: Layers in a cut at most, however few tasks they have.
LAYERS = 4
#: Ranks beyond these are left out unless they are asked for; in print so narrow, in inches, beyond
#: fewer.
RANKS, NARROW, FEW = 8, 5.0, 4


@dataclass(frozen=True, slots=True)
class Window:
    """What is shown.

    Parameters
    ----------
    start, end : float
        Seconds.
    ranks : tuple of int
    note : str
        What was left out, for the reader; empty when nothing was.
    cut : bool
        Whether a part of the step was chosen that nobody asked for.
    """

    start: float
    end: float
    ranks: tuple[int, ...]
    note: str
    cut: bool = False


def choose(
    result: Result,
    window: tuple[float, float] | None,
    layers: tuple[int, int] | None,
    ranks: Sequence[int] | None,
) -> Window:
    """Return the part of a run to draw.

    Parameters
    ----------
    result : Result
    window : (float, float), optional
        Start and end in seconds.
    layers : (int, int), optional
        First and last layer, both drawn; their forward pass.
    ranks : sequence of int, optional

    Raises
    ------
    UserError
        When nothing lies in the window, or a rank or layer does not exist.
    """
    timeline = result.timeline
    shown = _ranks(timeline, ranks, layers if window is None else None)
    count = result.scenario.model.layers
    free = window is None and layers is None
    if free:
        if len(timeline.programs.roles) > 1:
            window = steady(timeline, shown[0])
        else:
            layers = middle(timeline, shown[0], count)
    if window is None and layers is not None:
        note = _layer_note(layers, count)
        start, end = _of_layers(timeline, shown, layers)
    else:
        start, end = stretch(timeline, window)
        whole = start == 0 and end == timeline.step_time
        note = "" if whole else f"{time(start)} to {time(end)}"
    if ranks is None and (asked() or math.inf) < NARROW:
        shown = _few(timeline, shown, start, end)
    notes = filter(None, (note, _rank_note(shown, timeline.mesh.ranks, given=ranks is not None)))
    cut = free and (start, end) != (0.0, timeline.step_time)
    return Window(start, end, shown, "; ".join(notes), cut)


def stretch(timeline: Timeline, window: tuple[float, float] | None) -> tuple[float, float]:
    """Return start and end of what is drawn: of the whole step where no window is given.

    Raises
    ------
    UserError
        When nothing lies in it.
    """
    start, end = window or (0.0, timeline.step_time)
    if window is not None and (not 0 <= start < end or start >= timeline.step_time):
        raise UserError(
            f"window {time(start)} to {time(end)}: start and end must lie, in this order, between"
            f" 0 and the step time, {time(timeline.step_time)}"
        )
    return start, min(end, timeline.step_time)


def one_of_each(timeline: Timeline) -> tuple[int, ...]:
    """Return a rank of every role where there are several; else all that are to be shown."""
    stages = timeline.programs.first_ranks
    return stages if len(stages) > 1 else timeline.shown


def _ranks(
    timeline: Timeline, ranks: Sequence[int] | None, layers: tuple[int, int] | None
) -> tuple[int, ...]:
    if ranks is None:
        every = one_of_each(timeline)
        # Of a pipeline's stages, those that have the layers; where none has, `_of_layers` says so.
        those = tuple(r for r in every if layers and _forward(timeline, r, layers))
        return (those or every)[:RANKS]
    count = timeline.mesh.ranks
    wrong = [rank for rank in ranks if not 0 <= rank < count]
    if wrong or not ranks:
        raise UserError(f"ranks {list(ranks)}: there are ranks 0 to {count - 1}")
    return tuple(ranks)


def _few(timeline: Timeline, ranks: tuple[int, ...], start: float, end: float) -> tuple[int, ...]:
    """Return some that stand for the others: by what they compute there, from least to most."""
    if len(ranks) <= FEW:
        return ranks

    def computes(rank: int) -> float:
        """Return for how long a rank computes, in parts of the stretch: equal ones as equal."""
        ops = [op.index for op in timeline.programs.of(rank).ops if op.lane == 0]
        spans = (timeline.start[rank][ops], timeline.end[rank][ops])
        first, last = (np.clip(each, start, end) for each in spans)
        return round(float((last - first).sum()) / (end - start), 6)

    order = sorted(ranks, key=computes)
    places = (round(n * (len(order) - 1) / (FEW - 1)) for n in range(FEW))
    return tuple(sorted(order[place] for place in places))


def _rank_note(ranks: Sequence[int], count: int, *, given: bool) -> str:
    """Return which ranks of how many are shown; empty where all are and nobody chose them."""
    if len(ranks) == count and not given:
        return ""
    consecutive = not given and tuple(ranks) == tuple(range(len(ranks)))
    named = f"0-{ranks[-1]}" if consecutive else ", ".join(map(str, ranks))
    return f"rank {ranks[0]} of {count:,}" if len(ranks) == 1 else f"ranks {named} of {count:,}"


def middle(timeline: Timeline, rank: int, layers: int) -> tuple[int, int] | None:
    """Return the layers around the middle that fit on a page; None when everything does."""
    ops = timeline.programs.of(rank).ops
    compute = sum(op.lane == 0 for op in ops)
    if compute <= WHOLE or layers < 2:
        return None
    of_layer = sum(
        op.lane == 0 and op.layer == layers // 2 and op.phase == "forward" and not op.micro_batch
        for op in ops
    )
    count = max(1, min(READABLE // max(of_layer, 1), LAYERS, layers))
    first = (layers - count) // 2
    return first, first + count - 1


def steady(timeline: Timeline, rank: int) -> tuple[float, float] | None:
    """Return the time in the middle of a rank's work that fits on a page; None when all does.

    Stages of a pipeline compute a layer at different times, and other layers.
    """
    compute = [op.index for op in timeline.programs.of(rank).ops if op.lane == 0]
    if len(compute) <= WHOLE:
        return None
    first = (len(compute) - READABLE) // 2
    last = first + READABLE - 1
    return float(timeline.start[rank][compute[first]]), float(timeline.end[rank][compute[last]])


def _of_layers(
    timeline: Timeline, ranks: tuple[int, ...], layers: tuple[int, int]
) -> tuple[float, float]:
    """Return when the forward compute of some layers, first micro-batch, starts and ends."""
    starts, ends = [], []
    for rank in ranks:
        chosen = _forward(timeline, rank, layers)
        if chosen:
            starts.append(float(np.min(timeline.start[rank][chosen])))
            ends.append(float(np.max(timeline.end[rank][chosen])))
    if not starts:
        shown = f"(shown: {', '.join(map(str, ranks))})"
        raise UserError(f"layers {layers[0]} to {layers[1]}: no rank computes such layers {shown}")
    return min(starts), max(ends)


def _forward(timeline: Timeline, rank: int, layers: tuple[int, int]) -> list[int]:
    """Return the forward compute of a rank in some layers, first micro-batch."""
    return [
        op.index
        for op in timeline.programs.of(rank).ops
        if op.layer is not None and layers[0] <= op.layer <= layers[1]
        if op.lane == 0 and op.phase == "forward" and not op.micro_batch
    ]


def _layer_note(layers: tuple[int, int], count: int) -> str:
    first, last = layers
    named = f"layer {first}" if first == last else f"layers {first}-{last}"
    return f"{named} of 0-{count - 1}, forward"


def chosen_rank(result: Result, rank: int | None, default: int) -> int:
    """Return the rank to draw: the one asked for, which must exist, or the default."""
    count = len(result.timeline.start)
    if rank is not None and not 0 <= rank < count:
        raise UserError(f"rank {rank}: there are ranks 0 to {count - 1}")
    return default if rank is None else rank
