"""Where a rank's compute stands still."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tspsim.engine.held import held
from tspsim.engine.timeline import Timeline
from tspsim.output.plots.style import HELD, WAIT, Style

#: Rounding leaves gaps of this fraction of the step between tasks that follow each other.
NOTHING = 1e-9


def waits(timeline: Timeline, rank: int) -> Iterator[tuple[Style, float, float]]:
    """Yield what every gap in a rank's compute is, with its start and its end in seconds.

    Compute is one stream in order, and nothing but communication and the host is awaited on other
    streams: what of a gap between two compute tasks is no wait for the host is one for
    communication. So is the time from the last compute task to the rank's last task of all. The
    rest of the step, idle, is not yielded.
    """
    program = timeline.programs.of(rank)
    compute = np.array([op.index for op in program.ops if op.lane == 0], dtype=np.intp)
    start, end = timeline.start[rank], timeline.end[rank]
    last = float(end.max(initial=0.0))
    begins = np.concatenate([[0.0], end[compute]])
    ends = np.concatenate([start[compute], [last]])
    gaps = np.flatnonzero(ends - begins > NOTHING * last)
    since = {until: since for since, until in held(timeline, rank)}
    for begin, stop in zip(begins[gaps].tolist(), ends[gaps].tolist(), strict=True):
        ready = since.get(stop, stop)
        parts = ((WAIT, begin, ready), (HELD, ready, stop))
        yield from (part for part in parts if part[2] - part[1] > NOTHING * last)
