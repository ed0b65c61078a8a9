"""When the kernels of a rank begin: as on a device, where a collective waits for its partners.

To the simulation a collective is under way from when its last member comes. A kernel of NCCL runs
from when its own rank has all that it needs, and spins until the others are there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.tasks import predecessors
from tspsim.engine.timeline import Timeline


def begins(timeline: Timeline, rank: int) -> NDArray[np.float64]:
    """Return when every op of a rank begins on its device.

    Parameters
    ----------
    timeline : Timeline
    rank : int

    Returns
    -------
    ndarray
        Seconds, float64, shape (ops,).
    """
    program, end = timeline.programs.of(rank), timeline.end[rank]
    found = timeline.start[rank].copy()
    for op, before in zip(program.ops, predecessors(program), strict=True):
        if op.message is not None:
            found[op.index] = max((end[other] for other in before), default=0.0)
    return found
