"""Who meets whom: the k-th op of a rank on a communicator meets the k-th of the other members.

A collective begins when its last member has arrived. A shift is pairwise: every hop begins when its
own sender and receiver have arrived, so a late rank holds up its neighbours only. A send meets its
receive in the same way: the k-th from a rank to another on a channel, the k-th there from that one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from tspsim.engine.tasks import Tasks
from tspsim.mesh import Mesh
from tspsim.program.types import Lane, Message, Programs


class Communicator:
    """Ranks that share a lane, and the calls in which some members are still awaited.

    Parameters
    ----------
    name : str
    ranks : tuple of int
    stand_ins : tuple of int, optional
        By member, the rank that is played in its place; itself when not given.
    """

    __slots__ = ("name", "players", "ranks", "shifts", "stand_ins", "waiting")

    def __init__(
        self, name: str, ranks: tuple[int, ...], stand_ins: tuple[int, ...] | None = None
    ) -> None:
        self.name, self.ranks, self.stand_ins = name, ranks, stand_ins or ranks
        #: Members that are played, and their positions.
        self.players = {rank: at for at, rank in enumerate(ranks) if self.stand_ins[at] == rank}
        self.waiting: list[int] = []  # tasks that have arrived at the collective being gathered
        self.shifts: dict[int, dict[int, int]] = {}  # ordinal -> rank -> task that has arrived

    def partner(self, rank: int, offset: int) -> int:
        """Return the member `offset` places further round than a member."""
        return self.ranks[(self.ranks.index(rank) + offset) % len(self.ranks)]

    def played(self, rank: int) -> int:
        """Return the rank that is played in a member's place."""
        return self.stand_ins[self.ranks.index(rank)]


class Half(NamedTuple):
    """What a send and its receive have in common.

    Attributes
    ----------
    channel : str
    sender, receiver : int
        The ranks that are played in their places.
    ordinal : int
        Position among what the one sends to the other on the channel.
    """

    channel: str
    sender: int
    receiver: int
    ordinal: int


class Meeting(NamedTuple):
    """Tasks that have met: all members of a collective, or the two ends of a hop.

    Attributes
    ----------
    communicator : Communicator
    ranks : tuple of int
        The members; ``(sender, receiver)`` of a hop.
    message : Message
        Of a hop, its sender's.
    tasks : list of int
        Of the members that are played, in the order of `ranks`; of both ends of a hop, which are
        the same where one stands for the other.
    """

    communicator: Communicator
    ranks: tuple[int, ...]
    message: Message
    tasks: list[int]


def communicators(
    programs: Programs, mesh: Mesh, ranks: Sequence[int], stand_ins: Sequence[int] | None = None
) -> list[list[Communicator]]:
    """Return the communicator of every lane of some ranks; on compute every rank is alone."""
    known: dict[tuple[str, tuple[int, ...]], Communicator] = {}

    def find(rank: int, lane: Lane) -> Communicator:
        members = lane.members(mesh, rank)
        key = lane.name, members
        if key not in known:
            played = tuple(stand_ins[member] for member in members) if stand_ins else None
            known[key] = Communicator(lane.name, members, played)
        return known[key]

    return [[find(rank, lane) for lane in programs.of(rank).lanes] for rank in ranks]


class Rendezvous:
    """Gathers the members of every call.

    Parameters
    ----------
    programs : Programs
    mesh : Mesh
    tasks : Tasks
    stand_ins : sequence of int, optional
        By rank, the one that is played in its place.
    """

    def __init__(
        self,
        programs: Programs,
        mesh: Mesh,
        tasks: Tasks,
        stand_ins: Sequence[int] | None = None,
    ) -> None:
        self._tasks, self._mesh = tasks, mesh
        self._communicators = communicators(programs, mesh, tasks.ranks, stand_ins)
        self._halves: dict[Half, int] = {}  # sends and receives whose other half is awaited

    def communicator(self, task: int) -> Communicator:
        """Return the communicator that a task runs on."""
        return self._communicators[self._tasks.place[task]][self._tasks.lane[task]]

    def arrive(self, task: int, message: Message) -> Sequence[Meeting] | None:
        """Let a task arrive; return what can begin now, or None when it needs nobody else."""
        place = self._tasks.place[task]
        communicator = self._communicators[place][self._tasks.lane[task]]
        degree = len(communicator.ranks)
        if message.collective == "shift":
            if message.offset % degree == 0:
                return None
            return self._shift(communicator, message, task, self._tasks.ranks[place])
        if message.hop:
            return self._half_hop(communicator, message, task)
        if degree == 1:
            return None
        waiting = communicator.waiting
        waiting.append(task)
        if len(waiting) < len(communicator.players):
            return ()
        communicator.waiting = []
        waiting.sort()  # by rank, as tasks of lower ranks come first
        return (Meeting(communicator, communicator.ranks, message, waiting),)

    def _shift(
        self, communicator: Communicator, message: Message, task: int, rank: int
    ) -> list[Meeting]:
        """Begin the hops of which a rank was the last end to arrive: its own, and the one to it."""
        ordinal, offset = self._tasks.ordinal[task], message.offset
        ranks, played = communicator.ranks, communicator.stand_ins
        here = communicator.shifts.setdefault(ordinal, {})
        here[rank] = task
        at, degree = communicator.players[rank], len(ranks)
        senders = dict.fromkeys((rank, played[(at - offset) % degree]))
        met = []
        for sender in senders:  # a hop is that of the member that is played in its sender's place
            target = (communicator.players[sender] + offset) % degree
            if sender in here and played[target] in here:
                pair = (sender, ranks[target])
                ends = [here[sender], here[played[target]]]
                sent = message.of_rank(self._mesh, sender)
                met.append(Meeting(communicator, pair, sent, ends))
        if len(here) == len(communicator.players):
            del communicator.shifts[ordinal]  # all its hops have begun
        return met

    def half(self, task: int, message: Message) -> Half:
        """Return what a send and its receive have in common."""
        place, communicator = self._tasks.place[task], self.communicator(task)
        rank = self._tasks.ranks[place]
        other = communicator.partner(rank, message.offset)
        sends = message.collective == "send"
        ends = (rank, communicator.played(other)) if sends else (communicator.played(other), rank)
        return Half(message.channel, *ends, self._tasks.ordinal[task])

    def _half_hop(self, communicator: Communicator, message: Message, task: int) -> list[Meeting]:
        """Begin a hop when the second of its two halves arrives."""
        half = self.half(task, message)
        first = self._halves.pop(half, None)
        if first is None:
            self._halves[half] = task
            return []
        send, receive = (task, first) if message.collective == "send" else (first, task)
        sender, sent = self._tasks.ranks[self._tasks.place[send]], self._tasks.message[send]
        assert sent is not None
        pair = (sender, self.communicator(send).partner(sender, sent.offset))
        return [Meeting(communicator, pair, sent.of_rank(self._mesh, sender), [send, receive])]
