"""Deadlocks: ops of one or more ranks that wait for each other in a circle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tspsim.engine.checks.untimed import Untimed
from tspsim.engine.tasks import predecessors, shape_of
from tspsim.mesh import Mesh
from tspsim.program.types import Op, Operand, Program, Programs


class Circle(NamedTuple):
    """Ops that wait for each other.

    Attributes
    ----------
    names : tuple of str
        Rank, op and lane of each; each waits for the next, the last for the first.
    behind : tuple of bool
        Whether it waits for the next one only because that stands before it on its lane.
    held_up : bool
        Whether a send or a receive is among those that do.
    lane : str
        A communicator with a collective in the circle; empty when there is none.
    ranks : tuple of int
        Its members.
    step : int
        The call on that communicator.
    """

    names: tuple[str, ...]
    behind: tuple[bool, ...]
    held_up: bool
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


def find(programs: Programs, mesh: Mesh, stand_ins: Sequence[int] | None = None) -> Circle | None:
    """Play programs without time; return a circle of ops when some can never end.

    Parameters
    ----------
    programs : Programs
        The calls on every communicator must be the same for all its members.
    mesh : Mesh
    stand_ins : sequence of int, optional
        By rank, the one that is played in its place.
    """
    play = Untimed(programs, mesh, stand_ins)
    play.to_end()
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
        links = zip(circle, (*circle[1:], circle[0]), strict=True)
        behind = tuple(self._behind(*link) for link in links)
        messages = [self._play.tasks.message[task] for task in circle]
        halves = [message is not None and message.channel != "" for message in messages]
        held_up = any(half and after for half, after in zip(halves, behind, strict=True))
        for task, message, half in zip(circle, messages, halves, strict=True):
            if message is not None and not half:
                communicator = self._play.rendezvous.communicator(task)
                step = self._play.tasks.ordinal[task]
                return Circle(names, behind, held_up, communicator.name, communicator.ranks, step)
        return Circle(names, behind, held_up, "", (), 0)

    def _behind(self, task: int, awaited: int) -> bool:
        """Whether nothing but the order of its lane has a task wait for another one."""
        if self._play.tasks.place[task] != self._play.tasks.place[awaited]:
            return False
        here, there = self._op(task), self._op(awaited)
        read, written = _buffers(there.inputs), _buffers(there.outputs)
        needed = written & _buffers(here.inputs) or (read | written) & _buffers(here.outputs)
        return here.lane == there.lane and not needed

    def _awaited(self, task: int) -> int:
        """Return a task that has not ended and that this one waits for."""
        play, place = self._play, self._play.tasks.place[task]
        if not play.begun[task]:
            first = play.tasks.first[place]
            earlier = predecessors(self._programs.of(play.tasks.ranks[place]))[task - first]
            return next(first + op for op in sorted(earlier) if not play.ended[first + op])
        partners = (self._counterpart(task, other) for other in self._partners(task))
        return next(partner for partner in partners if not play.begun[partner])

    def _partners(self, task: int) -> tuple[int, ...]:
        """Return the ranks that a communication task needs."""
        tasks = self._play.tasks
        communicator = self._play.rendezvous.communicator(task)
        message, rank = tasks.message[task], tasks.ranks[tasks.place[task]]
        if message is None or not message.hop:
            return communicator.ranks
        ways = (
            (message.offset, -message.offset)
            if message.collective == "shift"
            else (message.offset,)
        )
        return tuple(communicator.partner(rank, way) for way in ways)

    def _counterpart(self, task: int, rank: int) -> int:
        """Return the task that meets this one, of another rank or of what stands in for it."""
        tasks, communicator = self._play.tasks, self._play.rendezvous.communicator(task)
        place = tasks.ranks.index(communicator.played(rank))
        candidates = range(tasks.first[place], tasks.first[place + 1])
        return next(t for t in candidates if self._meets(t, task))

    def _meets(self, other: int, task: int) -> bool:
        """Whether two tasks of different ranks are calls that meet."""
        tasks, rendezvous = self._play.tasks, self._play.rendezvous
        a, b = tasks.message[other], tasks.message[task]
        if a is None or b is None or tasks.ordinal[other] != tasks.ordinal[task]:
            return False
        if a.channel or b.channel:
            apart = a.collective != b.collective and a.channel == b.channel
            return apart and rendezvous.half(other, a) == rendezvous.half(task, b)
        return rendezvous.communicator(other).name == rendezvous.communicator(task).name

    def _name(self, task: int) -> str:
        rank, op = self._rank(task), self._op(task)
        return f"rank {rank}: '{op.name}' on {self._programs.of(rank).lanes[op.lane].name}"

    def _rank(self, task: int) -> int:
        return self._play.tasks.ranks[self._play.tasks.place[task]]

    def _op(self, task: int) -> Op:
        first = self._play.tasks.first[self._play.tasks.place[task]]
        return self._programs.of(self._rank(task)).ops[task - first]


def _buffers(operands: Sequence[Operand]) -> set[int]:
    return {operand.buffer.index for operand in operands}
