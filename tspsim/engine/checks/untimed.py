"""Plays programs without time: an order in which everything can run, or what is left standing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from tspsim.engine.meetings import Rendezvous
from tspsim.engine.tasks import lay_out
from tspsim.mesh import Mesh
from tspsim.program.types import Message, Programs


class Together(NamedTuple):
    """Tasks that run together: one alone, all members of a collective, or the ends of a hop.

    Attributes
    ----------
    tasks : list of int
    ranks : tuple of int
        Of a collective or hop, as in `Meeting`; empty for a task alone.
    message : Message or None
        None for a task alone.
    """

    tasks: list[int]
    ranks: tuple[int, ...] = ()
    message: Message | None = None


class Untimed:
    """One play without time.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    stand_ins : sequence of int, optional
        By rank, the one that is played in its place; every rank is played when not given.

    Attributes
    ----------
    tasks : Tasks
    rendezvous : Rendezvous
    ended : bytearray
        1 for tasks that have ended, by task.
    begun : bytearray
        1 for tasks whose predecessors have ended, by task.
    """

    def __init__(
        self, programs: Programs, mesh: Mesh, stand_ins: Sequence[int] | None = None
    ) -> None:
        self.tasks = lay_out(programs, sorted(set(stand_ins)) if stand_ins else None)
        self.rendezvous = Rendezvous(programs, mesh, self.tasks, stand_ins)
        self.ended = bytearray(len(self.tasks.place))
        self.begun = bytearray(len(self.tasks.place))
        self._hops = bytearray(len(self.tasks.place))
        self._ready: deque[int] = deque()

    def run(self) -> Iterator[Together]:
        """Yield tasks that run together, each after all that it waits for.

        A task of a shift comes up twice, once for each of its two hops.
        """
        self._ready.extend(t for t, pending in enumerate(self.tasks.pending) if not pending)
        while self._ready:
            task = self._ready.popleft()
            self.begun[task] = 1
            yield from self._begin(task)

    def to_end(self) -> None:
        """Run whatever can run; `run` without saying what runs together."""
        tasks, ready, ended, begun = self.tasks, self._ready, self.ended, self.begun
        message, successors, pending = tasks.message, tasks.successors, tasks.pending
        ready.extend(task for task, awaited in enumerate(pending) if not awaited)
        while ready:
            task = ready.popleft()
            begun[task] = 1
            if message[task] is not None:
                for _ in self._begin(task):
                    pass
                continue
            ended[task] = 1
            for distance in successors[task]:
                waiting = task + distance
                left = pending[waiting] = pending[waiting] - 1
                if not left:
                    ready.append(waiting)

    def _begin(self, task: int) -> Iterator[Together]:
        message = self.tasks.message[task]
        meetings = None if message is None else self.rendezvous.arrive(task, message)
        if meetings is None:
            yield Together([task])
            self._end(task)
            return
        for meeting in meetings:
            yield Together(meeting.tasks, meeting.ranks, meeting.message)
            pairwise = meeting.message.collective == "shift"
            for member in meeting.tasks:
                self._hops[member] += 1
                if not pairwise or self._hops[member] == 2:
                    self._end(member)

    def _end(self, task: int) -> None:
        self.ended[task] = 1
        for distance in self.tasks.successors[task]:
            self.tasks.pending[task + distance] -= 1
            if not self.tasks.pending[task + distance]:
                self._ready.append(task + distance)
