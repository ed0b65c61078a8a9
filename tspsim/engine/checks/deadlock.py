"""Deadlocks: ops of one or more ranks that wait for each other in a circle."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.engine.checks.untimed import Untimed
from tspsim.engine.tasks import predecessors, shape_of
from tspsim.mesh import Mesh
from tspsim.program.types import Program, Programs


class Circle(NamedTuple):
    """Ops that wait for each other.

    Attributes
    ----------
    names : tuple of str
        Rank, op and lane of each; each waits for the next, the last for the first.
    lane : str
        A communicator in the circle; empty when there is none.
    ranks : tuple of int
        Its members.
    step : int
        The call on that communicator.
    """

    names: tuple[str, ...]
    lane: str
    ranks: tuple[int, ...]
    step: int


def can_end(program: Program) -> bool:
    """Say whether a program's own waits allow it to end when all others keep up."""
    shape = shape_of(program)
    pending = list(shape.pending)
    ended = [index for index, awaited in enumerate(pending) if not awaited]
    for index in ended:  # grows while it is read
        for distance in shape.successors[index]:
            pending[index + distance] -= 1
            if not pending[index + distance]:
                ended.append(index + distance)
    return len(ended) == len(pending)


def find(programs: Programs, mesh: Mesh) -> Circle | None:
    """Play programs without time; return a circle of ops when some can never end.

    Parameters
    ----------
    programs : Programs
        The calls on every communicator must be the same for all its members.
    mesh : Mesh
    """
    play = Untimed(programs, mesh)
    for _ in play.run():
        pass
    if all(play.ended):
        return None
    return _Standstill(programs, play).circle()


class _Standstill:
    """A play that cannot go on, and questions to it."""

    def __init__(self, programs: Programs, play: Untimed) -> None:
        self._programs, self._play = programs, play

    def circle(self) -> Circle:
        task = self._play.ended.index(0)
        path: list[int] = []
        while task not in path:
            path.append(task)
            task = self._awaited(task)
        circle = path[path.index(task) :]
        names = tuple(self._name(task) for task in circle)
        for task in circle:
            if self._play.tasks.message[task] is not None:
                communicator = self._play.rendezvous.communicator(task)
                step = self._play.tasks.ordinal[task]
                return Circle(names, communicator.name, communicator.ranks, step)
        return Circle(names, "", (), 0)

    def _awaited(self, task: int) -> int:
        """Return a task that has not ended and that this one waits for."""
        play, rank = self._play, self._play.tasks.place[task]
        if not play.begun[task]:
            first = play.tasks.first[rank]
            earlier = predecessors(self._programs.of(rank))[task - first]
            return next(first + op for op in sorted(earlier) if not play.ended[first + op])
        partners = (self._counterpart(task, other) for other in self._partners(task))
        return next(partner for partner in partners if not play.begun[partner])

    def _partners(self, task: int) -> tuple[int, ...]:
        """Return the ranks that a communication task needs."""
        communicator = self._play.rendezvous.communicator(task)
        message = self._play.tasks.message[task]
        if message is None or message.collective != "shift":
            return communicator.ranks
        place = communicator.players[self._play.tasks.place[task]]
        ends = (place + message.offset, place - message.offset)
        return tuple(communicator.ranks[end % len(communicator.ranks)] for end in ends)

    def _counterpart(self, task: int, rank: int) -> int:
        """Return the task of another rank that meets this one."""
        tasks, name = self._play.tasks, self._play.rendezvous.communicator(task).name
        lane = [lane.name for lane in self._programs.of(rank).lanes].index(name)
        here = (lane, tasks.ordinal[task])
        candidates = range(tasks.first[rank], tasks.first[rank + 1])
        return next(t for t in candidates if (tasks.lane[t], tasks.ordinal[t]) == here)

    def _name(self, task: int) -> str:
        rank = self._play.tasks.place[task]
        program = self._programs.of(rank)
        op = program.ops[task - self._play.tasks.first[rank]]
        return f"rank {rank}: '{op.name}' on {program.lanes[op.lane].name}"
