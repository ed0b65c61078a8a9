"""Jitter: one factor for every task, drawn before anything is played.

What is drawn for a task depends on the seed, its rank and its op alone: not on what happens when,
nor on how many ranks there are. So the same seed gives the same bytes, and two fabrics or
strategies' options that leave a program alone can be compared under the very same luck.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tspsim.program.columns import columns_of
from tspsim.program.types import Program, Programs
from tspsim.topology.disturbances import Jitter

#: Separate streams of random numbers, so that drawing one thing more moves nothing else.
COMPUTE, LINKS, FAILURES, ARRIVALS, LENGTHS, SAMPLES = range(6)
#: Of tasks: what the host does takes as long as it is said to.
_STEADY = 2


def generator(stream: int, seed: int, number: int = 0) -> np.random.Generator:
    """Return the generator of one stream; `number` tells ranks, or jobs, apart."""
    return np.random.default_rng((stream, seed, number))


def factors(jitter: Jitter, programs: Programs) -> list[float]:
    """Return by what the duration of every task is multiplied, rank after rank in issue order.

    A collective call takes the factor of its first member's op, a hop of a shift that of its
    sender's: each call and each hop has one of its own.
    """
    found: list[float] = []
    for rank in range(len(programs.role_of_rank)):
        streams = _streams(programs.of(rank))
        count = len(streams)
        drawn = np.ones((3, count))
        for stream, how in ((COMPUTE, jitter.compute), (LINKS, jitter.links)):
            if how is not None:
                drawn[stream] = how.draw(generator(stream, jitter.seed, rank), count)
        found.extend(drawn[streams, np.arange(count)].tolist())
    return found


def _streams(program: Program) -> NDArray[np.intp]:
    """Return, by op, which of the streams of chance its factor is drawn from."""
    columns = columns_of(program)
    return np.where(columns.talks, LINKS, np.where(columns.lanes > 0, _STEADY, COMPUTE))
