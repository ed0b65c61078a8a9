"""The sends of an algorithm as arrays: what is played, without which chunk is which.

An algorithm for many members repeats itself: all steps of a ring have the same senders, receivers
and sizes. A wave holds one such step and how often it comes in a row, so that two million sends are
described by three short arrays.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Schedule, Step
from tspsim.topology.graph import Topology

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
    pieces, pipelined, serial
        As in `Schedule`.
    """

    waves: tuple[Wave, ...]
    pieces: int = 1
    pipelined: bool = False
    serial: bool = False

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
    return Waves(waves, schedule.pieces, schedule.pipelined, schedule.serial)


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

    Part p passes step s in slot ``p + s``: a slot holds as many steps as there are parts on their
    way. A chunk of a slot is a chunk of one part.
    """
    steps = [Wave(*wave[:3]) for wave in waves.waves for _ in range(wave.times)]
    # Slots differ only where the first part has not reached, or the last part has passed, a step.
    edges = sorted({*range(len(steps)), *range(parts, parts + len(steps))})
    return tuple(
        _joined(steps[max(0, slot - parts + 1) : slot + 1], after - slot)
        for slot, after in pairwise(edges)
    )


def _joined(steps: list[Wave], times: int) -> Wave:
    source, target, chunks = (np.concatenate([step[i] for step in steps]) for i in range(3))
    order = np.argsort(source, kind="stable")
    return Wave(source[order], target[order], chunks[order], times)


def planned_waves(algorithm: str, waves: Waves, ranks: tuple[int, ...], topology: Topology) -> Plan:
    """Return the plan of waves of steps: `tspsim.collectives.schedule.planned`, without the sends.

    Only for what is neither pipelined nor serial.
    """
    assert not waves.pipelined and not waves.serial
    latencies: list[float] = []
    chunks: dict[int, int] = {}
    for wave in waves.waves:
        slowest = 0.0
        for source, target, count in zip(*(part.tolist() for part in wave[:3]), strict=True):
            for link in topology.route(ranks[source], ranks[target]):
                chunks[link] = chunks.get(link, 0) + count * wave.times
            slowest = max(slowest, topology.latency(ranks[source], ranks[target]))
        latencies += [slowest] * wave.times
    loads = tuple((link, count / waves.pieces) for link, count in sorted(chunks.items()))
    return Plan(algorithm, loads, sum(latencies), sends=waves)
