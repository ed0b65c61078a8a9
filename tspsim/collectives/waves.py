"""The sends of an algorithm as arrays: what is played, without which chunk is which.

An algorithm for many members repeats itself: all steps of a ring have the same senders, receivers
and sizes. A wave holds one such step and how often it comes in a row, so that two million sends are
described by three short arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import accumulate, pairwise, zip_longest
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.schedule import Schedule, Step

Integers = NDArray[np.int64]


class Wave(NamedTuple):
    """One step, and how many times it comes in a row.

    Attributes
    ----------
    source, target : ndarray of int64, shape (sends,)
        Positions in the communicator.
    chunks : ndarray of int64, shape (sends,)
        How many chunks go.
    times : int
    """

    source: Integers
    target: Integers
    chunks: Integers
    times: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Waves:
    """A `tspsim.collectives.schedule.Schedule` without the numbers of its chunks.

    Parameters
    ----------
    waves : tuple of Wave
    pieces, pipelined, serial, stages
        As in `Schedule`.
    """

    waves: tuple[Wave, ...]
    pieces: int = 1
    pipelined: bool = False
    serial: bool = False
    stages: tuple[int, ...] = ()

    @property
    def steps(self) -> int:
        """Number of steps."""
        return sum(wave.times for wave in self.waves)

    @property
    def sends(self) -> int:
        """Number of sends, those of all steps together."""
        return sum(len(wave.source) * wave.times for wave in self.waves)


def waves_of(schedule: Schedule) -> Waves:
    """Return the waves of a schedule; steps that are alike and follow each other become one."""
    waves = merged(map(_wave, schedule.steps))
    return Waves(waves, schedule.pieces, schedule.pipelined, schedule.serial, schedule.stages)


def _wave(step: Step) -> Wave:
    """Return a step as arrays, its sends in order of their sources."""
    ends = sorted((send.source, send.target, len(send.chunks)) for send in step)
    source, target, chunks = np.array(ends, dtype=np.int64).reshape(-1, 3).T
    return Wave(source, target, chunks)


def merged(waves: Iterable[Wave]) -> tuple[Wave, ...]:
    """Return waves with those that are alike and follow each other put together."""
    found: list[Wave] = []
    for wave in waves:
        if found and _alike(found[-1], wave):
            found[-1] = found[-1]._replace(times=found[-1].times + wave.times)
        else:
            found.append(wave)
    return tuple(found)


def _alike(one: Wave, two: Wave) -> bool:
    return all(map(np.array_equal, one[:3], two[:3]))


def unrolled(waves: Waves, parts: int) -> tuple[Wave, ...]:
    """Return the steps of a pipelined algorithm whose message is cut into parts.

    Part p passes stage s in slot ``p + s``: a slot holds as many stages as there are parts on their
    way, and stages of several steps pass them side by side. A chunk of a slot is a chunk of one
    part.
    """
    steps = [Wave(*wave[:3]) for wave in waves.waves for _ in range(wave.times)]
    ends = [0, *accumulate(waves.stages or (1,) * len(steps))]
    stages = [steps[first:last] for first, last in pairwise(ends)]
    # Slots differ only where the first part has not reached, or the last has passed, a stage.
    edges = sorted({*range(len(stages)), *range(parts, parts + len(stages))})
    return merged(
        wave
        for slot, after in pairwise(edges)
        for wave in _slot(stages[max(0, slot - parts + 1) : slot + 1], after - slot)
    )


def _slot(stages: list[list[Wave]], times: int) -> list[Wave]:
    """Return the steps of a slot that comes so many times."""
    rows = zip_longest(*stages)
    steps = [_joined([step for step in row if step is not None]) for row in rows]
    return [steps[0]._replace(times=times)] if len(steps) == 1 else steps * times


def _joined(steps: list[Wave]) -> Wave:
    source, target, chunks = (np.concatenate([step[i] for step in steps]) for i in range(3))
    order = np.argsort(source, kind="stable")
    return Wave(source[order], target[order], chunks[order])
