"""Compute that is slowed down while a collective is active on its device.

Where nothing slows it down, the end of a task is known when it starts, and none of this is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from tspsim.engine.calendar import Afterwards, Calendar, Clock


class _Stream:
    """The compute stream of one rank: at most one task at a time, as lanes are in order."""

    __slots__ = ("active", "end", "left", "since", "speed", "task")

    def __init__(self) -> None:
        self.active = 0  # collectives and hops under way on the device
        self.task = -1
        self.left = self.since = 0.0  # seconds at full speed that remained at `since`
        self.speed = 1.0
        self.end = -1.0


class InterferedCompute:
    """Compute that keeps a fraction of its speed while communication is active on its device.

    Parameters
    ----------
    environment : Clock
    finish : callable
        Called with the tasks that end at one moment.
    rank : sequence of int
        Rank of every task.
    ranks : int
        Number of ranks.
    fraction : float
        `Profile.interference`, between 0 (exclusive) and 1.
    """

    def __init__(
        self,
        environment: Clock,
        finish: Callable[[list[int]], None],
        rank: Sequence[int],
        ranks: int,
        fraction: float,
    ) -> None:
        self._environment, self._finish, self._rank = environment, finish, rank
        self._fraction = fraction
        self._streams = [_Stream() for _ in range(ranks)]
        self._ends: Calendar[_Stream] = Calendar(environment, self._due)
        self._later = Afterwards(environment, self._settle)
        self._changed: dict[int, None] = {}

    def begin(self, duration: float, task: int) -> None:
        """Start a task that takes `duration` seconds at full speed."""
        stream = self._streams[self._rank[task]]
        stream.task, stream.left, stream.since = task, duration, self._environment.now
        stream.speed = self._fraction if stream.active else 1.0
        stream.end = self._ends.add(duration / stream.speed, stream)

    def communication_began(self, ranks: Iterable[int]) -> None:
        """Count one more collective or hop on the devices of some ranks."""
        for rank in ranks:
            self._streams[rank].active += 1
            self._changed[rank] = None
        self._later.request()

    def communication_ended(self, ranks: Iterable[int]) -> None:
        """Count one less collective or hop on the devices of some ranks."""
        for rank in ranks:
            self._streams[rank].active -= 1
            self._changed[rank] = None
        self._later.request()

    def _due(self, streams: list[_Stream]) -> None:
        """End the tasks whose time has come; an entry from before a re-rating is stale."""
        now = self._environment.now
        ended = []
        for stream in streams:
            if stream.end == now and stream.task >= 0:
                ended.append(stream.task)
                stream.task, stream.end = -1, -1.0
        if ended:
            self._finish(ended)

    def _settle(self) -> None:
        changed, self._changed = self._changed, {}
        now = self._environment.now
        for rank in changed:
            stream = self._streams[rank]
            speed = self._fraction if stream.active else 1.0
            if stream.task < 0 or speed == stream.speed:
                continue
            stream.left = max(0.0, stream.left - (now - stream.since) * stream.speed)
            stream.since, stream.speed = now, speed
            stream.end = self._ends.add(stream.left / speed, stream)
