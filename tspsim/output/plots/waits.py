"""Where a rank stands still: compute for data, a transfer for the slot that it is to fill."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.program.types import Program

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


def held_back(timeline: Timeline, rank: int, ops: Iterable[int]) -> Iterator[tuple[float, float]]:
    """Yield the times in which a transfer could run but for the slot that it is to fill.

    Its data are there and its stream is free, but a compute task still reads what it would
    overwrite: back-pressure.

    Parameters
    ----------
    timeline : Timeline
    rank : int
    ops : iterable of int
        Indices of communication ops of one stream that follow each other. Before the first one,
        nothing is said: what the stream did until then is not known.
    """
    program = timeline.programs.of(rank)
    end = timeline.end[rank]
    free = math.inf
    for op in ops:
        slot = _end(end, [w for w in program.waits[op] if not _feeds(program, w, op)])
        ready = max(free, _end(end, [w for w in program.waits[op] if _feeds(program, w, op)]))
        if slot - ready > NOTHING * timeline.step_time:
            yield ready, slot
        free = float(end[op])


def _feeds(program: Program, writer: int, op: int) -> bool:
    """Tell whether an op writes what another reads."""
    written = {operand.buffer.index for operand in program.ops[writer].outputs}
    return any(operand.buffer.index in written for operand in program.ops[op].inputs)


def _end(end: NDArray[np.float64], ops: list[int]) -> float:
    return float(end[ops].max()) if ops else 0.0
