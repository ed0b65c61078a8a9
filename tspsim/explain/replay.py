"""Plays the recorded programs of a run again, on hardware that differs in one constant."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import NamedTuple

from tspsim import memory
from tspsim.analysis import fill
from tspsim.collectives.choose import Planner as AlgorithmPlanner
from tspsim.engine.calls import Planner
from tspsim.engine.simulate import play
from tspsim.engine.timeline import Timeline
from tspsim.memory import MemoryTrace
from tspsim.scenario.types import Scenario
from tspsim.topology.graph import Topology


class Outcome(NamedTuple):
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


#: Makes the planner of collectives of a topology.
Plans = Callable[[Topology], Planner]


class Replay:
    """One run's programs, ready to be played on other hardware.

    Parameters
    ----------
    timeline : Timeline
        Its programs and mesh are played as they are: nothing is recorded again.
    dtype : str
    plans : callable
        Makes the planner of collectives of a topology.
    """

    def __init__(self, timeline: Timeline, dtype: str, plans: Plans) -> None:
        self._timeline, self._dtype, self._plans = timeline, dtype, plans

    @classmethod
    def of(cls, timeline: Timeline, scenario: Scenario) -> Replay:
        """Return the replay of a scenario's run."""
        return cls(
            timeline,
            scenario.workload.dtype,
            lambda topology: AlgorithmPlanner(topology, scenario.algorithm),
        )

    def play(self, topology: Topology) -> Timeline:
        """Return when everything happens on a topology."""
        programs, mesh = self._timeline.programs, self._timeline.mesh
        return play(programs, mesh, topology, self._dtype, self._plans(topology))

    def step_time(self, topology: Topology) -> float:
        """Return the seconds of the step on a topology."""
        return self.play(topology).step_time

    def outcome(self, topology: Topology) -> Outcome:
        """Return step time and peak memory on a topology."""
        timeline = self.play(topology)
        return _outcome(timeline, memory.trace(timeline), topology)

    def as_played(self, topology: Topology) -> Outcome:
        """Return step time and peak memory on a topology with equal times: not played again."""
        return _outcome(self._timeline, self._trace, topology)

    @cached_property
    def _trace(self) -> MemoryTrace:
        return memory.trace(self._timeline)


def _outcome(timeline: Timeline, trace: MemoryTrace, topology: Topology) -> Outcome:
    found = fill(trace, topology)
    return Outcome(timeline.step_time, found.peak, found.capacity - found.peak)
