"""Bounds on the step time, of collectives played as fair coflows, that need no simulation."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from tspsim.collectives.choose import Chooser
from tspsim.engine.checks.untimed import Together, Untimed
from tspsim.engine.network.calls import Planner
from tspsim.engine.tasks import Durations
from tspsim.mesh import Mesh
from tspsim.program.types import Program, Programs
from tspsim.topology.graph import Topology


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the step time cannot fall below, and what it cannot exceed; all in seconds.

    Parameters
    ----------
    critical_path : float
        The longest chain of tasks that follow each other, were nothing ever contended.
    busiest_compute : float
        The longest sum of one rank's compute, or of what its host issues.
    busiest_link : float
        The longest time that one link needs for all its bytes.
    sum : float
        All tasks one after another. Sharing links cannot be slower: on the link that holds
        coflows up, the fractions of their own speeds that they get add up to at least 1.
    """

    critical_path: float
    busiest_compute: float
    busiest_link: float
    sum: float

    @property
    def lower(self) -> float:
        """The largest of the lower bounds."""
        return max(self.critical_path, self.busiest_compute, self.busiest_link)


def bounds(
    programs: Programs, mesh: Mesh, topology: Topology, dtype: str, algorithm: str = "auto"
) -> Bounds:
    """Return bounds on the step time of programs that the dry run has passed.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    topology : Topology
    dtype : str
    algorithm : str
        As in `tspsim.engine.simulate.simulate`.
    """
    return bounds_with(programs, mesh, topology, dtype, Chooser(topology, algorithm))


def bounds_with(
    programs: Programs, mesh: Mesh, topology: Topology, dtype: str, planner: Planner
) -> Bounds:
    """Do what `bounds` does, with a planner of one's own."""
    play = Untimed(programs, mesh)
    durations = Durations(programs, mesh, topology, dtype)
    seconds = [s for rank in range(mesh.ranks) for s in durations.of(rank)]
    count = _Count(play, topology, planner, seconds)
    for together in play.run():
        count.add(together)
    compute = (_busiest(programs.of(rank), durations.of(rank)) for rank in range(mesh.ranks))
    link = max(count.links.values(), default=0.0)
    return Bounds(max(count.finish, default=0.0), max(compute), link, count.sum)


def _busiest(program: Program, seconds: Sequence[float]) -> float:
    """Return the longest sum of a rank's lanes; communication counts as nothing here."""
    total = [0.0] * len(program.lanes)
    for op in program.ops:
        total[op.lane] += seconds[op.index]
    return max(total)


class _Count:
    """Adds up tasks in an order in which they can run."""

    def __init__(
        self, play: Untimed, topology: Topology, planner: Planner, seconds: list[float]
    ) -> None:
        self._play, self._topology, self._planner = play, topology, planner
        self._seconds = seconds
        self._ready = [0.0] * len(seconds)  # when all that a task waits for has ended
        self.finish = [0.0] * len(seconds)
        self.links: dict[int, float] = defaultdict(float)
        self.sum = 0.0

    def add(self, together: Together) -> None:
        duration = self._duration(together)
        self.sum += duration
        end = max(self._ready[task] for task in together.tasks) + duration
        for task in together.tasks:
            self.finish[task] = max(self.finish[task], end)
            for distance in self._play.tasks.successors[task]:
                self._ready[task + distance] = max(self._ready[task + distance], end)

    def _duration(self, together: Together) -> float:
        message = together.message
        if message is None:
            return self._seconds[together.tasks[0]]
        size = message.bytes
        plan = self._planner.choose(message.carried_as(), size, together.ranks, message.root)
        for link, load in plan.loads:
            bandwidth = self._topology.links[link].bandwidth * plan.efficiency / plan.held
            self.links[link] += size * load / bandwidth
        return plan.time(size, self._topology)
