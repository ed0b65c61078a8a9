"""A replica as a process on SimPy's clock: requests come, steps follow each other.

A step takes the requests that have come when it begins; one that comes during a step waits for the
next. A process per request would add nothing: between steps nothing changes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable
from operator import attrgetter

import numpy as np
import simpy

from tspsim.engine.calendar import Clock
from tspsim.engine.serving.scheduler import Ongoing, Scheduler, Step
from tspsim.engine.serving.served import Level, Served
from tspsim.engine.serving.types import Cache, Limits, Request, StepTime

Progress = Callable[[float], None]

#: How often progress is told during a run.
_REPORTS = 200


def serve(
    requests: Iterable[Request],
    step_time: StepTime,
    limits: Limits,
    cache: Cache,
    progress: Progress | None = None,
) -> Served:
    """Serve requests until the last one has all of its tokens.

    Parameters
    ----------
    requests : iterable of Request
        At least one, in any order.
    step_time : callable
        Gives the seconds of a step.
    limits : Limits
    cache : Cache
        With room for any one of the requests.
    progress : callable, optional
        Called now and then with the fraction of the requests that has ended.
    """
    return _Replica(requests, step_time, Scheduler(limits, cache), progress).run()


class _Replica:
    """One run: made, run once, and thrown away."""

    def __init__(
        self,
        requests: Iterable[Request],
        step_time: StepTime,
        scheduler: Scheduler,
        progress: Progress | None,
    ) -> None:
        self._requests = tuple(sorted(requests, key=attrgetter("arrival")))
        self._coming = deque(enumerate(self._requests))
        self._step_time, self._scheduler, self._progress = step_time, scheduler, progress
        self._clock = Clock(self._requests[0].arrival)
        count = len(self._requests)
        self._started, self._first = [-1.0] * count, [-1.0] * count
        self._latest = [-1.0] * count  # token of every request
        self._preemptions = [0] * count
        self._gaps: list[float] = []
        self._changes: dict[str, list[tuple[float, int]]] = {
            "waiting": [], "running": [], "blocks": [],
        }  # fmt: skip
        self._held, self._steps, self._ended, self._busy = 0, 0, 0, 0.0

    def run(self) -> Served:
        """Play everything and return what became of the requests."""
        self._clock.process(self._life())
        self._clock.run()
        levels = {name: Level.of(changes) for name, changes in self._changes.items()}
        return Served(
            self._requests,
            np.array(self._started),
            np.array(self._first),
            np.array(self._latest),
            np.array(self._preemptions),
            np.array(self._gaps),
            steps=self._steps,
            recomputed=self._scheduler.recomputed,
            busy=self._busy,
            **levels,
        )

    def _life(self) -> Generator[simpy.Event, None, None]:
        """Compute step after step; sleep where nobody waits."""
        clock, scheduler = self._clock, self._scheduler
        while self._coming or scheduler.busy:
            self._receive()
            if not scheduler.busy:
                yield clock.at(self._coming[0][1].arrival)
                continue
            step = scheduler.step()
            self._begin(step)
            seconds = self._step_time(step.rows)
            assert 0 < seconds < float("inf")
            yield clock.at(clock.now + seconds)
            self._busy += seconds
            self._end(scheduler.done(step))

    def _receive(self) -> None:
        """Put those into the queue that have come."""
        while self._coming and self._coming[0][1].arrival <= self._clock.now:
            number, request = self._coming.popleft()
            self._scheduler.add(number, request)
            self._changes["waiting"].append((request.arrival, 1))

    def _begin(self, step: Step) -> None:
        """Note what changes as a step begins."""
        self._steps += 1
        for each in step.preempted:
            self._preemptions[each.number] += 1
            self._moved(1, -1)
        for each in step.started:
            if self._started[each.number] < 0:
                self._started[each.number] = self._clock.now
            self._moved(-1, 1)
        self._note_blocks()

    def _end(self, gave: list[Ongoing]) -> None:
        """Note the tokens that a step gave."""
        now, latest = self._clock.now, self._latest
        for each in gave:
            if self._first[each.number] < 0:
                self._first[each.number] = now
            else:
                self._gaps.append(now - latest[each.number])
            latest[each.number] = now
        ended = sum(not each.left for each in gave)
        if ended:
            self._changes["running"].append((now, -ended))
            self._report(ended)
        self._note_blocks()

    def _moved(self, waiting: int, running: int) -> None:
        self._changes["waiting"].append((self._clock.now, waiting))
        self._changes["running"].append((self._clock.now, running))

    def _note_blocks(self) -> None:
        held = self._scheduler.held
        if held != self._held:
            self._changes["blocks"].append((self._clock.now, held - self._held))
            self._held = held

    def _report(self, ended: int) -> None:
        before, self._ended = self._ended, self._ended + ended
        count = len(self._requests)
        if self._progress and before * _REPORTS // count < self._ended * _REPORTS // count:
            self._progress(self._ended / count)
