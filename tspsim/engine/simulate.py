"""The engine: plays the programs of all ranks on the fabric, event by event.

SimPy keeps the time; what happens at an event is a callback over flat lists, since a generator
process per op would cost ten times as much. The engine is the one owner of mutable state, for the
length of one run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.choose import Chooser
from tspsim.engine.calendar import Calendar, Clock
from tspsim.engine.compute import InterferedCompute
from tspsim.engine.folding.fold import Asymmetric, Fold, fold
from tspsim.engine.jitter import factors
from tspsim.engine.meetings import Meeting, Rendezvous
from tspsim.engine.network.calls import ActiveCall, Planner
from tspsim.engine.network.model import COFLOWS, NetworkModel
from tspsim.engine.tasks import Durations, lay_out, split
from tspsim.engine.timeline import Timeline, Transfer
from tspsim.files.errors import ScheduleError
from tspsim.mesh import Mesh
from tspsim.program.types import Programs
from tspsim.topology.disturbances import Jitter
from tspsim.topology.graph import Topology

Progress = Callable[[float], None]

#: How often progress is told during a run.
_REPORTS = 200

#: Start of a task that has not started.
_NEVER = -1.0


@dataclass(frozen=True, slots=True, eq=False)
class Setup:
    """What is played, on what, and how.

    Parameters
    ----------
    programs : Programs
        Checked with `tspsim.engine.checks.dryrun.check`: what does not meet stands still here.
    mesh : Mesh
        Rank i runs on ``topology.devices[i]``.
    topology : Topology
    dtype : str
        Which peak rate of the devices counts.
    network : NetworkModel
        How collectives are played on the links.
    jitter : Jitter, optional
        Durations that differ from task to task by chance.
    folds : bool
        Ranks that provably behave alike are played once; the times are the same.
    """

    programs: Programs
    mesh: Mesh
    topology: Topology
    dtype: str
    network: NetworkModel = COFLOWS
    jitter: Jitter | None = None
    folds: bool = True


def simulate(
    setup: Setup, planner: Planner | None = None, progress: Progress | None = None
) -> Timeline:
    """Play the programs of all ranks and return when everything started and ended.

    Parameters
    ----------
    setup : Setup
    planner : Planner, optional
        Chooses the algorithm of every call; the fastest of all when not given.
    progress : callable, optional
        Called now and then with the fraction of the tasks that has ended.

    Raises
    ------
    ScheduleError
        When tasks wait for each other and nothing can go on.
    """
    planner = planner or Chooser(setup.topology)
    alike = setup.folds and setup.network.folds and setup.jitter is None
    apart = frozenset[str]() if alike else frozenset(name for name, _ in setup.mesh.axes)
    while True:
        folded = fold(setup.programs, setup.mesh, setup.topology, without=apart)
        try:
            return _Engine(setup, planner, progress, folded).run()
        except Asymmetric as found:
            apart |= found.axes


class _Engine:
    """One run: made, run once, and thrown away."""

    def __init__(
        self, setup: Setup, planner: Planner, progress: Progress | None, folded: Fold
    ) -> None:
        programs, mesh, topology = setup.programs, setup.mesh, setup.topology
        self._programs, self._mesh, self._progress = programs, mesh, progress
        self._fold = folded
        self._tasks = lay_out(programs, folded.representatives)
        durations = Durations(programs, mesh, topology, setup.dtype)
        self._duration = [s for rank in self._tasks.ranks for s in durations.of(rank)]
        self._factor = factors(setup.jitter, programs) if setup.jitter else None
        if self._factor is not None:
            pairs = zip(self._duration, self._factor, strict=True)
            self._duration = [seconds * factor for seconds, factor in pairs]
        self._total = len(self._tasks.place)
        self._start = [_NEVER] * self._total
        self._end = [_NEVER] * self._total
        self._done, self._next_report = 0, 0.0
        self._hops_left: dict[int, int] = {}  # by task of a shift under way
        self._transfers: list[Transfer] = []
        self._environment = Clock()
        self._player = setup.network.player(
            self._environment, topology, planner, self._through, folded
        )
        self._rendezvous = Rendezvous(programs, mesh, self._tasks, folded.stand_ins)
        self._steady = Calendar[int](self._environment, self._finish)
        self._interfered = self._interference(topology.profile.interference)

    def _interference(self, fraction: float) -> InterferedCompute | None:
        """Return the compute streams where collectives slow them down."""
        if fraction >= 1:
            return None
        ranks, place = len(self._tasks.ranks), self._tasks.place
        return InterferedCompute(self._environment, self._finish, place, ranks, fraction)

    def run(self) -> Timeline:
        """Play everything and return the timeline."""
        ended: list[int] = []
        for task, pending in enumerate(tuple(self._tasks.pending)):
            if not pending:
                self._begin(task, ended, 0.0)
        self._finish(ended)
        self._environment.run()
        if self._done < self._total:
            raise ScheduleError(self._standstill())
        if self._progress is not None:
            self._progress(1.0)
        return Timeline(
            self._programs,
            self._mesh,
            self._by_rank(self._start),
            self._by_rank(self._end),
            tuple(sorted(self._transfers, key=lambda t: (t.start, t.ranks, t.op))),
            self._fold,
        )

    def _by_rank(self, times: list[float]) -> tuple[NDArray[np.float64], ...]:
        """Return the times of every rank; those that are folded share an array."""
        parts = [np.array(part, dtype=np.float64) for part in split(times, self._tasks.first)]
        return tuple(parts[place] for place in self._fold.position.tolist())

    def _begin(self, task: int, ended: list[int], now: float) -> None:
        """Start a task whose predecessors have ended; put it into `ended` if it takes no time."""
        message = self._tasks.message[task]
        if message is not None:
            meetings = self._rendezvous.arrive(task, message)
            if meetings is not None:
                self._meet(meetings)
                return
        if self._interfered is not None and not self._tasks.lane[task]:
            self._start[task] = now
            if duration := self._duration[task]:
                self._interfered.begin(duration, task)
            else:
                ended.append(task)
            return
        if self._interfered is None:
            task, moment = self._run_through(task, now)
        else:  # the host's: nothing slows it down, and what follows may be slowed
            self._start[task], moment = now, now + self._duration[task]
        if moment > now:
            self._steady.put(moment, task)
        else:
            ended.append(task)

    def _run_through(self, task: int, now: float) -> tuple[int, float]:
        """Start a compute task; return the last of those that follow it at once, and its end.

        Where nothing but the next compute task waits for one, and that one for nothing else, both
        are one stretch of work: only its end is an event.
        """
        start, end, duration, tasks = self._start, self._end, self._duration, self._tasks
        message, successors, pending = tasks.message, tasks.successors, tasks.pending
        while True:
            start[task] = now
            now += duration[task]
            after = successors[task]
            if len(after) != 1:
                return task, now
            following = task + after[0]
            if pending[following] != 1 or message[following] is not None:
                return task, now
            pending[following] = 0
            end[task] = now
            self._done += 1
            task = following

    def _meet(self, meetings: Sequence[Meeting]) -> None:
        """Begin the exchanges of those who have met."""
        now = self._environment.now
        for meeting in meetings:
            for member in meeting.tasks:
                if self._start[member] == _NEVER:  # a shift starts with the earlier of its hops
                    self._start[member] = now
            if self._interfered is not None:
                self._interfered.communication_began(self._tasks.place[t] for t in meeting.tasks)
            factor = self._factor[meeting.tasks[0]] if self._factor is not None else 1.0
            self._player.begin(meeting, factor)

    def _through(self, exchanges: list[ActiveCall]) -> None:
        """End the tasks of exchanges whose last byte has arrived."""
        ended: list[int] = []
        for exchange in exchanges:
            self._record(exchange)
            if self._interfered is not None:
                self._interfered.communication_ended(self._tasks.place[t] for t in exchange.tasks)
            if exchange.call.message.collective == "shift":
                ended.extend(task for task in exchange.tasks if self._last_hop(task))
            else:
                ended.extend(exchange.tasks)
        self._finish(ended)

    def _last_hop(self, task: int) -> bool:
        """Count one of the two hops of a shift as done; say whether it was the second."""
        if self._hops_left.pop(task, 2) == 1:
            return True
        self._hops_left[task] = 1
        return False

    def _record(self, exchange: ActiveCall) -> None:
        kind, size, _, _, _ = exchange.call.message
        algorithm = exchange.call.plan.algorithm
        for member, ranks, loads, start, end, send in self._player.carried(exchange):
            task = exchange.tasks[member]
            op = task - self._tasks.first[self._tasks.place[task]]
            self._transfers.append(
                Transfer(op, ranks, kind, size, algorithm, loads, start, end, send)
            )

    def _finish(self, ended: list[int]) -> None:
        """End tasks and start those that waited for them; `ended` grows by those without time."""
        now = self._environment.now
        end, pending, successors = self._end, self._tasks.pending, self._tasks.successors
        for task in ended:
            end[task] = now
            for distance in successors[task]:
                waiting = task + distance
                left = pending[waiting] = pending[waiting] - 1
                if not left:
                    self._begin(waiting, ended, now)
        self._done += len(ended)
        if self._progress is not None and self._done >= self._next_report:
            self._next_report = self._done + self._total / _REPORTS
            self._progress(self._done / self._total)

    def _standstill(self) -> str:
        """Return what the first waiting task of every rank is."""
        lines = [f"{self._total - self._done} of {self._total} tasks never ended; waiting for:"]
        for place, rank in enumerate(self._tasks.ranks):
            first, stop = self._tasks.first[place : place + 2]
            stuck = [i for i in range(stop - first) if self._end[first + i] == _NEVER]
            if stuck:
                lines.append(f"  rank {rank}: {self._programs.of(rank).ops[stuck[0]].name}")
        return "\n".join(lines)
