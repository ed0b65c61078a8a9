"""Which collective is to blame for the time in which a rank communicates and does not compute."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from math import fsum
from typing import NamedTuple

import numpy as np

from tspsim.engine.held import held
from tspsim.engine.timeline import Timeline
from tspsim.program.columns import columns_of
from tspsim.program.types import Op


class Cause(NamedTuple):
    """Communication of one label that compute stood still for.

    Attributes
    ----------
    collective, label, lane, phase : str
    calls : int
        How many of them were exposed.
    seconds : float
    """

    collective: str
    label: str
    lane: str
    phase: str
    calls: int
    seconds: float


class Interval(NamedTuple):
    """A stretch of exposed communication, and the op that it is put down to."""

    start: float
    end: float
    op: Op


_Span = tuple[float, float, Op]


def causes(timeline: Timeline, rank: int) -> list[Cause]:
    """Return what a rank's exposed communication consists of, largest first.

    The seconds add up to `tspsim.analysis.summary.TimeFigures.exposed_communication`.
    """
    lanes = timeline.programs.of(rank).lanes
    groups: dict[tuple[str, str, str, str], list[Interval]] = defaultdict(list)
    for found in exposed(timeline, rank):
        op = found.op
        key = (op.kind.name, op.label, lanes[op.lane].name, op.phase)
        groups[key].append(found)
    made = [
        Cause(*key, len({i.op.index for i in group}), _sum(group)) for key, group in groups.items()
    ]
    return sorted(made, key=lambda cause: -cause.seconds)


def exposed(timeline: Timeline, rank: int) -> Iterator[Interval]:
    """Yield a rank's exposed communication in stretches, each put down to one op.

    Where several transfers are under way while compute stands still, the one that ends last of
    those that end before compute goes on is to blame: that is what compute waits for. Transfers
    that go on beyond it (prefetches) are to blame only where there is no other.
    """
    program = timeline.programs.of(rank)
    starts, ends = timeline.start[rank], timeline.end[rank]
    said = np.flatnonzero(columns_of(program).talks & (ends > starts))
    said = said[np.argsort(starts[said], kind="stable")]
    begin, end = starts[said], ends[said]
    latest = np.maximum.accumulate(end) if end.size else end
    for gap_start, gap_end in gaps(timeline, rank):
        # Sorted by start: what starts before the gap ends, from the first that may reach into it.
        first = int(np.searchsorted(latest, gap_start, side="right"))
        stop = int(np.searchsorted(begin, gap_end, side="left"))
        here = [i for i in range(first, stop) if end[i] > gap_start]
        spans = [(float(begin[i]), float(end[i]), program.ops[said[i]]) for i in here]
        yield from _blamed(gap_start, gap_end, spans)


def gaps(timeline: Timeline, rank: int) -> Iterator[tuple[float, float]]:
    """Yield the times in which a rank's compute stands still, up to the end of the step.

    Those in which it waits for its host alone are left out.
    """
    free, since = 0.0, {until: since for since, until in held(timeline, rank)}
    compute = np.flatnonzero(columns_of(timeline.programs.of(rank)).lanes == 0)
    starts, ends = timeline.start[rank][compute].tolist(), timeline.end[rank][compute].tolist()
    for start, end in zip(starts, ends, strict=True):  # a lane is in order
        if (stop := since.get(start, start)) > free:
            yield free, stop
        free = end
    if (stop := since.get(timeline.step_time, timeline.step_time)) > free:
        yield free, stop


def _blamed(start: float, stop: float, spans: list[_Span]) -> Iterator[Interval]:
    """Yield the covered parts of a gap."""
    moment = stop
    bare: list[tuple[float, float]] = []  # where none of those is under way that end in time
    for begin, end, op in sorted((s for s in spans if s[1] <= stop), key=_last_first):
        end, begin = min(end, moment), max(begin, start)
        if end > begin:
            bare.append((end, moment))
            yield Interval(begin, end, op)
            moment = begin
    bare.append((start, moment))
    beyond = [span for span in spans if span[1] > stop]
    if beyond:
        begin, _, op = min(beyond, key=lambda span: span[0])  # it covers all that they cover
        for a, b in bare:
            if b > max(a, begin):
                yield Interval(max(a, begin), b, op)


def _last_first(span: _Span) -> tuple[float, int]:
    return -span[1], -span[2].index


def _sum(intervals: list[Interval]) -> float:
    return fsum(moment for i in intervals for moment in (i.end, -i.start))
