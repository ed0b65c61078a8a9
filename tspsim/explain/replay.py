"""Plays the recorded programs of a run again, on hardware that differs in one constant."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from tspsim.analysis.fullest import fill
from tspsim.engine.timeline import Timeline
from tspsim.memory import MemoryTrace
from tspsim.result import Result
from tspsim.runner import simulate_step
from tspsim.topology.graph import Topology


class Replayed(NamedTuple):
    """What a step takes.

    Attributes
    ----------
    step_time : float
        Seconds.
    peak : float
        Bytes of the rank that comes closest to filling its device, with what is reserved.
    headroom : float
        Bytes that this rank's device has left; negative where it does not fit.
    """

    step_time: float
    peak: float
    headroom: float


#: Plays the programs of a run on a topology; gives back times and memory.
Play = Callable[[Topology], tuple[Timeline, MemoryTrace]]


class Replay:
    """One run, ready to be played on other hardware.

    Parameters
    ----------
    timeline : Timeline
    trace : MemoryTrace
        Of the run as it is.
    play : callable
        Plays it on a topology.
    """

    def __init__(self, timeline: Timeline, trace: MemoryTrace, play: Play) -> None:
        self._timeline, self._trace, self._play = timeline, trace, play

    @classmethod
    def of(cls, result: Result) -> Replay:
        """Return the replay of a result: its recorded programs, and all else of its scenario."""
        programs = result.timeline.programs

        def play(topology: Topology) -> tuple[Timeline, MemoryTrace]:
            scenario = replace(result.scenario, topology=topology)
            again = simulate_step(scenario, programs=programs)
            return again.timeline, again.memory

        return cls(result.timeline, result.memory, play)

    def step_time(self, topology: Topology) -> float:
        """Return the seconds of the step on a topology."""
        return self._play(topology)[0].step_time

    def replayed(self, topology: Topology) -> Replayed:
        """Return step time and peak memory on a topology."""
        return _replayed(*self._play(topology), topology)

    def as_played(self, topology: Topology) -> Replayed:
        """Return step time and peak memory on a topology with equal times: not played again."""
        return _replayed(self._timeline, self._trace, topology)


def _replayed(timeline: Timeline, trace: MemoryTrace, topology: Topology) -> Replayed:
    found = fill(trace, topology)
    return Replayed(timeline.step_time, found.peak, found.capacity - found.peak)
