"""What a gantt chart consists of: the rows of the page and the bars in them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.output.plots.paper import asked
from tspsim.output.plots.style import Style, style_of
from tspsim.output.plots.waits import waits
from tspsim.output.plots.window import Window
from tspsim.program.types import Op, Program


class Heights(NamedTuple):
    """Inches of a compute row, of a communication row, and of the space between ranks."""

    compute: float
    lane: float
    space: float


#: On a screen; and in print, where the smallest letters that can be read just stand in a row.
SCREEN, PRINT = Heights(0.24, 0.15, 0.10), Heights(0.14, 0.09, 0.06)


def heights() -> Heights:
    """Return the heights of new charts."""
    return SCREEN if asked() is None else PRINT


class Row(NamedTuple):
    """A lane of a rank on the page: its bottom and its height in inches."""

    rank: int
    lane: int
    name: str
    bottom: float
    height: float


class Bar(NamedTuple):
    """A task, or a time of standing still (no op), in seconds."""

    row: Row
    start: float
    end: float
    op: Op | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything that is drawn: rows from the top of the page down, bars by style."""

    rows: tuple[Row, ...]
    bars: dict[Style, list[Bar]]

    @property
    def height(self) -> float:
        """Inches from the bottom of the last row to the top of the first."""
        return self.rows[0].bottom + self.rows[0].height


def chart(timeline: Timeline, part: Window) -> Chart:
    """Return what is to be drawn of a timeline."""
    lanes = {id(program): _by_lane(program) for program in timeline.programs.roles}
    seen = {
        (rank, lane): ops[_seen(timeline, rank, ops, part)]
        for rank in part.ranks
        for lane, ops in enumerate(lanes[id(timeline.programs.of(rank))])
    }
    rows = tuple(_rows(timeline, part.ranks, seen))
    bars: dict[Style, list[Bar]] = defaultdict(list)
    for row in rows:
        for style, bar in _bars(timeline, row, seen[row.rank, row.lane]):
            if part.start <= bar.start < bar.end <= part.end:
                bars[style].append(bar)
            elif (start := max(bar.start, part.start)) < (end := min(bar.end, part.end)):
                bars[style].append(bar._replace(start=start, end=end))
    return Chart(rows, dict(bars))


def _by_lane(program: Program) -> list[NDArray[np.intp]]:
    """Return for every lane the indices of its ops, in issue order."""
    of_op = np.array([op.lane for op in program.ops])
    return [np.flatnonzero(of_op == lane) for lane in range(len(program.lanes))]


def _seen(timeline: Timeline, rank: int, ops: NDArray[np.intp], part: Window) -> slice:
    """Return which ops of a lane to look at: those in the window, and one on either side."""
    start, end = timeline.start[rank][ops], timeline.end[rank][ops]
    inside = np.flatnonzero((end > part.start) & (start < part.end))
    if not inside.size:
        return slice(0, 0)
    return slice(max(int(inside[0]) - 1, 0), int(inside[-1]) + 2)


def _rows(
    timeline: Timeline, ranks: tuple[int, ...], seen: dict[tuple[int, int], NDArray[np.intp]]
) -> Iterator[Row]:
    """Yield the rows from the top down; a communicator without a task in sight has none."""
    shown = [
        [
            (index, lane.name)
            for index, lane in enumerate(timeline.programs.of(rank).lanes)
            if index == 0 or seen[rank, index].size
        ]
        for rank in ranks
    ]
    high = heights()
    top = sum(high.compute + high.lane * (len(lanes) - 1) + high.space for lanes in shown)
    for rank, lanes in zip(ranks, shown, strict=True):
        for index, name in lanes:
            height = high.lane if index else high.compute
            top -= height
            yield Row(rank, index, name, top, height)
        top -= high.space


def _bars(timeline: Timeline, row: Row, seen: NDArray[np.intp]) -> Iterator[tuple[Style, Bar]]:
    """Yield the tasks of a row, and where it stands still."""
    ops, of_row = timeline.programs.of(row.rank).ops, seen.tolist()
    starts, ends = timeline.start[row.rank][seen].tolist(), timeline.end[row.rank][seen].tolist()
    for i, start, end in zip(of_row, starts, ends, strict=True):
        yield style_of(ops[i]), Bar(row, start, end, ops[i])
    if row.lane == 0:
        for style, start, end in waits(timeline, row.rank):
            yield style, Bar(row, start, end, None)
