"""Where a rank's compute stands still."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tspsim.engine.timeline import Timeline

#: Rounding leaves gaps of this fraction of the step between tasks that follow each other.
NOTHING = 1e-9


def waits(timeline: Timeline, rank: int) -> Iterator[tuple[float, float]]:
    """Yield start and end, in seconds, of every gap in a rank's compute.

    Compute is one stream in order, and nothing but communication is awaited on other streams:
    a gap between two compute tasks is a wait for communication. So is the time from the last
    compute task to the rank's last task of all. The rest of the step, idle, is not yielded.
    """
    program = timeline.programs.of(rank)
    compute = np.array([op.index for op in program.ops if op.lane == 0], dtype=np.intp)
    start, end = timeline.start[rank], timeline.end[rank]
    last = float(end.max(initial=0.0))
    begins = np.concatenate([[0.0], end[compute]])
    ends = np.concatenate([start[compute], [last]])
    gaps = np.flatnonzero(ends - begins > NOTHING * last)
    yield from zip(begins[gaps].tolist(), ends[gaps].tolist(), strict=True)
