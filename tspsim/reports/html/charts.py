"""What the page's gantt and memory charts draw, as small JSON: times are whole ticks.

A tick is a millionth of the step, far below a pixel however far one zooms in usefully. Bars are
written as the gap since the bar before and the length, both in ticks, which are short numbers.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.analysis.fullest import MemoryFigures, fill
from tspsim.engine.timeline import Timeline
from tspsim.output.plots.bars import Bar, Chart, chart
from tspsim.output.plots.layers import layer_starts
from tspsim.output.plots.memory import thin
from tspsim.output.plots.memory_layers import Band, Bands, bands
from tspsim.output.plots.phases import phases
from tspsim.output.plots.style import (
    BESIDE,
    LAYERS,
    MEMORY,
    ORDER,
    PALE,
    RESERVED,
    WAITS,
    Style,
)
from tspsim.output.plots.window import Window, one_of_each
from tspsim.output.units import size, time
from tspsim.program.types import BUFFER_KINDS
from tspsim.reports.html.sources import Drawn
from tspsim.result import Result

#: Ticks of a step.
TICKS = 10**6
#: Bars of one run at most: about 1.2 MB.
MOST_BARS = 60_000
#: Ranks of one run at most; of two runs on one page fewer.
MOST_RANKS = 8
#: Moments of the memory curve at most.
MOMENTS = 2000


class Piece(NamedTuple):
    """A bar of one row, or several short ones that were joined; `label`: in the bar, and beside."""

    style: Style
    start: float
    end: float
    label: tuple[str, str]


#: Pieces by rank and lane.
Rows = dict[tuple[int, int], list[Piece]]


def run(drawn: Drawn, share: int = 1) -> dict[str, Any]:
    """Return everything that the charts of one run draw.

    Parameters
    ----------
    drawn : Drawn
    share : int
        Runs that share the page.
    """
    result = drawn.result
    return {
        "name": drawn.name,
        "step": result.timeline.step_time,
        "ticks": TICKS,
        "gantt": _gantt(result, MOST_BARS // share, MOST_RANKS // share),
        "memory": _memory(result),
        "layers": _layers(result),
    }


def _gantt(result: Result, most: int, ranks: int) -> dict[str, Any]:
    timeline, step = result.timeline, result.timeline.step_time
    part = Window(0.0, step, one_of_each(timeline)[:ranks], "")
    found = chart(timeline, part)
    rows = _by_row(found)
    if len(timeline.programs.roles) == 1:  # stages do different things: all of them are drawn
        rows = _few_ranks(rows, most)
    count = sum(map(len, rows.values()))
    drawn, least = _joined(rows, most, step)
    styles = sorted({piece.style for row in drawn.values() for piece in row}, key=ORDER.index)
    labels: dict[tuple[int, str, str], int] = {}
    return {
        "rows": [
            {"name": row.name, "rank": row.rank, "main": row.lane == 0}
            | _written(drawn[row.rank, row.lane], styles, labels, step)
            for row in found.rows
            if (row.rank, row.lane) in drawn
        ],
        "styles": [_style(style) for style in styles],
        "labels": list(labels),
        "layers": [[_tick(s, step), name] for s, name in layer_starts(timeline, part)],
        "note": _note(timeline, sorted({rank for rank, _ in drawn}), count, least),
    }


def _by_row(found: Chart) -> Rows:
    """Return the pieces of every row, by rank and lane, in order of time."""
    rows: Rows = {(row.rank, row.lane): [] for row in found.rows}
    for style, bars in found.bars.items():
        for bar in bars:
            rows[bar.row.rank, bar.row.lane].append(_piece(style, bar))
    return {key: sorted(row, key=lambda piece: piece.start) for key, row in rows.items()}


def _few_ranks(rows: Rows, most: int) -> Rows:
    """Return the rows of the first ranks whose bars are not too many; of one rank at least."""
    total, kept, first = 0, set(), next(iter(rows))[0]
    for rank, group in groupby(rows, key=lambda key: key[0]):
        total += sum(len(rows[key]) for key in group)
        if total <= most or rank == first:
            kept.add(rank)
    return {key: row for key, row in rows.items() if key[0] in kept}


def _note(timeline: Timeline, ranks: Sequence[int], count: int, least: float) -> str:
    """Return what the chart leaves out."""
    told = []
    if len(ranks) < timeline.mesh.ranks:
        told.append(f"ranks {', '.join(map(str, ranks))} of {timeline.mesh.ranks}")
    if least:
        told.append(f"of {count:,} bars, neighbours shorter than {time(least)} are joined")
    return "; ".join(told)


def _piece(style: Style, bar: Bar) -> Piece:
    op = bar.op
    if op is None:
        return Piece(style, bar.start, bar.end, ("", style.name))
    what = op.kind.name if op.message is None else op.message.collective
    places = [what if what == op.label else f"{what} {op.label}"]
    if op.layer is not None:
        places.append(f"layer {op.layer}")
    if op.micro_batch:
        places.append(f"micro-batch {op.micro_batch}")
    places.append(op.phase)
    if op.message is not None and op.message.root is not None:
        places.append(f"from {op.message.root}")
    return Piece(style, bar.start, bar.end, (op.label, ", ".join(places)))


# ---- fewer bars ----------------------------------------------------------------------------------


def _joined(rows: Rows, most: int, step: float) -> tuple[Rows, float]:
    """Join short neighbours until there are few enough bars.

    Returns
    -------
    dict, float
        The rows, and the length below which neighbours were joined: 0 when none were.
    """
    least, found = 0.0, rows
    while sum(map(len, found.values())) > most and least < step:
        least = least * 2 if least else step / most
        found = {key: list(_join(row, least)) for key, row in rows.items()}
    return found, least


def _join(row: Sequence[Piece], least: float) -> Iterator[Piece]:
    """Yield the pieces of a row, short ones that lie close together as one."""

    def bucket(numbered: tuple[int, Piece]) -> tuple[bool, int]:
        number, piece = numbered
        short = piece.end - piece.start < least
        return short, int(piece.start / least / 4) if short else number

    for _, group in groupby(enumerate(row), key=bucket):
        pieces = [piece for _, piece in group]
        yield pieces[0] if len(pieces) == 1 else _as_one(pieces)


def _as_one(pieces: Sequence[Piece]) -> Piece:
    """Return one piece for several: it looks like what takes most of their time."""
    seconds: dict[Style, float] = defaultdict(float)
    for piece in pieces:
        seconds[piece.style] += piece.end - piece.start
    style = max(seconds, key=lambda each: seconds[each])
    text = f"{len(pieces)} short tasks, mostly {style.name}"
    return Piece(style, pieces[0].start, max(piece.end for piece in pieces), ("", text))


# ---- as numbers ----------------------------------------------------------------------------------


def _tick(seconds: float, step: float) -> int:
    return round(seconds / step * TICKS) if step else 0


def _written(
    row: Sequence[Piece],
    styles: Sequence[Style],
    labels: dict[tuple[int, str, str], int],
    step: float,
) -> dict[str, list[int]]:
    """Return the bars of a row: gaps and lengths in ticks, and which label each has."""
    times: list[int] = []
    kinds: list[int] = []
    places = {style: place for place, style in enumerate(styles)}
    before = 0
    for piece in row:
        start, end = _tick(piece.start, step), _tick(piece.end, step)
        times += (start - before, end - start)
        label = (places[piece.style], *piece.label)
        kinds.append(labels.setdefault(label, len(labels)))
        before = start
    return {"times": times, "labels": kinds}


def _style(style: Style) -> dict[str, Any]:
    look = "hatch" if style.hatch == "////" else "wait" if style in WAITS else ""
    return {
        "name": style.name,
        "colour": style.colour,
        "ground": PALE if style in WAITS else style.colour,
        "look": look,
    }


def _memory(result: Result) -> dict[str, Any]:
    """Return the memory curve of the fullest rank by kind."""
    memory = result.memory.ranks[_fullest(result).peak_rank]
    kinds = zip(BUFFER_KINDS, memory.by_kind, strict=True)
    each = (Band(kind, MEMORY[kind], row) for kind, row in kinds if row.any())
    return _areas(result, Bands(memory.times, tuple(each)))


def _layers(result: Result) -> dict[str, Any] | None:
    """Return its memory with activations by layer; None where no two layers have any."""
    found = bands(result.timeline, _fullest(result).peak_rank)
    several = sum(band.colour in LAYERS for band in found.each) > 1
    return _areas(result, found) if several else None


def _fullest(result: Result) -> MemoryFigures:
    return fill(result.memory, result.scenario.topology)  # of the step that is drawn


def _areas(result: Result, found: Bands) -> dict[str, Any]:
    """Return an area over time, in KiB, from the bottom of the stack up."""
    figures, step = _fullest(result), result.timeline.step_time
    seen = thin(np.sum([band.amounts for band in found.each], axis=0, dtype=np.int64), MOMENTS)
    beside = round((figures.peak - result.memory.ranks[figures.peak_rank].peak) / 1024)
    kinds = [
        {"name": band.name, "colour": band.colour, "kib": _kib(band, seen)} for band in found.each
    ]
    if beside:
        flat = {"name": BESIDE, "colour": RESERVED}
        kinds.insert(0, flat | {"kib": [beside] * len(seen)})
    left = figures.capacity - figures.peak
    verdict = f"{size(left)} free" if left >= 0 else f"{size(-left)} too little"
    return {
        "times": [_tick(moment, step) for moment in found.times[seen].tolist()],
        "kinds": kinds,
        "capacity": figures.capacity / 1024,
        "capacity_text": f"capacity {size(figures.capacity)}, {verdict}",
        "fits": figures.fits,
        "peak": [_tick(figures.peak_time, step), figures.peak / 1024, size(figures.peak)],
        "phases": [
            [p.phase, _tick(p.start, step), _tick(p.end, step)]
            for p in phases(result.timeline, figures.peak_rank)
        ],
    }


def _kib(band: Band, seen: NDArray[np.intp]) -> list[int]:
    amounts: list[int] = np.rint(band.amounts[seen] / 1024).astype(int).tolist()
    return amounts
