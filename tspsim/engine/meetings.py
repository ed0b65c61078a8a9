"""Who meets whom: the k-th op of a rank on a communicator meets the k-th of the other members.

A collective begins when its last member has arrived. A shift is pairwise: every hop begins when its
own sender and receiver have arrived, so a late rank holds up its neighbours only.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tspsim.engine.tasks import Tasks
from tspsim.mesh import Mesh
from tspsim.program.types import Lane, Message, Programs


class Communicator:
    """Ranks that share a lane, and the calls in which some members are still awaited."""

    __slots__ = ("name", "places", "ranks", "shifts", "waiting")

    def __init__(self, name: str, ranks: tuple[int, ...]) -> None:
        self.name, self.ranks = name, ranks
        self.places = {rank: place for place, rank in enumerate(ranks)}
        self.waiting: list[int] = []  # tasks that have arrived at the collective being gathered
        self.shifts: dict[int, dict[int, int]] = {}  # ordinal -> place -> task that has arrived


class Meeting(NamedTuple):
    """Tasks that have met: all members of a collective, or the two ends of a hop.

    Attributes
    ----------
    communicator : Communicator
    ranks : tuple of int
        The members; ``(sender, receiver)`` of a hop.
    message : Message
    tasks : list of int
        In the order of `ranks`.
    """

    communicator: Communicator
    ranks: tuple[int, ...]
    message: Message
    tasks: list[int]


def communicators(programs: Programs, mesh: Mesh) -> list[list[Communicator]]:
    """Return the communicator of every lane of every rank; on compute every rank is alone."""
    known: dict[tuple[str, tuple[int, ...]], Communicator] = {}

    def find(rank: int, lane: Lane) -> Communicator:
        ranks = (rank,) if lane.axis is None else mesh.group(rank, lane.axis, lane.size)
        return known.setdefault((lane.name, ranks), Communicator(lane.name, ranks))

    return [[find(rank, lane) for lane in programs.of(rank).lanes] for rank in range(mesh.ranks)]


class Rendezvous:
    """Gathers the members of every call.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    tasks : Tasks
    """

    def __init__(self, programs: Programs, mesh: Mesh, tasks: Tasks) -> None:
        self._tasks = tasks
        self._communicators = communicators(programs, mesh)

    def communicator(self, task: int) -> Communicator:
        """Return the communicator that a task runs on."""
        return self._communicators[self._tasks.rank[task]][self._tasks.lane[task]]

    def arrive(self, task: int, message: Message) -> Sequence[Meeting] | None:
        """Let a task arrive; return what can begin now, or None when it needs nobody else."""
        rank = self._tasks.rank[task]
        communicator = self._communicators[rank][self._tasks.lane[task]]
        degree = len(communicator.ranks)
        if message.collective == "shift":
            if message.offset % degree == 0:
                return None
            return self._shift(communicator, message, task, communicator.places[rank])
        if degree == 1:
            return None
        waiting = communicator.waiting
        waiting.append(task)
        if len(waiting) < degree:
            return ()
        communicator.waiting = []
        waiting.sort()  # by rank, as tasks of lower ranks come first
        return (Meeting(communicator, communicator.ranks, message, waiting),)

    def _shift(
        self, communicator: Communicator, message: Message, task: int, place: int
    ) -> list[Meeting]:
        ranks, ordinal = communicator.ranks, self._tasks.ordinal[task]
        degree = len(ranks)
        here = communicator.shifts.setdefault(ordinal, {})
        here[place] = task
        met = []
        receiver, sender = (place + message.offset) % degree, (place - message.offset) % degree
        for a, b in ((place, receiver), (sender, place)):
            if a in here and b in here:
                pair = (ranks[a], ranks[b])
                met.append(Meeting(communicator, pair, message, [here[a], here[b]]))
        if len(here) == degree:
            del communicator.shifts[ordinal]  # all its hops have begun
        return met
