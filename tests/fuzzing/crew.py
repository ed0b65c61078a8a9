"""Processes that play inputs; one that hangs or dies of its input is replaced."""

from __future__ import annotations

import multiprocessing
import resource
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from time import perf_counter

from tests.fuzzing.inputs import Outcome, drawn, judged
from tests.fuzzing.judge import LIMIT
from tspsim.sweeps import crew
from tspsim.sweeps.crew import Alone

#: What a law's runs take together may be so many times what a command may take.
_SLACK = 2.0
#: Bytes that a process may have: an input that needs more is told, and the machine lives.
_MEMORY = 6 * 2**30

_SPAWN = multiprocessing.get_context("spawn")


class Worker:
    """A process with one input at a time."""

    def __init__(self, seed: int, bases: Path) -> None:
        self._seed, self._bases = seed, bases
        self._start()

    def _start(self) -> None:
        self.connection, far = _SPAWN.Pipe()
        self._process: BaseProcess = _SPAWN.Process(
            target=_work, args=(far, self._seed, self._bases), daemon=True
        )
        self._process.start()
        far.close()
        assert self.connection.recv() == "ready"
        self.number, self._words = -1, tuple[str, ...]()

    def give(self, number: int) -> None:
        """Start an input."""
        self.number, self._words, self.since = number, (), perf_counter()
        self.connection.send(number)

    @property
    def late(self) -> bool:
        """Whether its input takes too long."""
        return self.number >= 0 and perf_counter() - self.since > _SLACK * LIMIT

    def take(self) -> Outcome | None:
        """Return the outcome of its input; None while that is under way."""
        try:
            told = self.connection.recv()
        except (EOFError, ConnectionResetError):
            return self.replaced("the process dies")
        if isinstance(told, Outcome):
            self.number = -1
            return told
        self._words, self.since = told, perf_counter()
        return None

    def replaced(self, fault: str) -> Outcome:
        """End the process, start another, and return the outcome of the input that it had."""
        kind, seconds = drawn(self._seed, self.number)[0], perf_counter() - self.since
        outcome = Outcome(self.number, kind, self._words, None, (fault,), seconds)
        self.close()
        self._start()
        return outcome

    def end(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()

    def close(self) -> None:
        """End the process for good."""
        self.end()
        self.connection.close()


def _work(connection: Connection, seed: int, bases: Path) -> None:
    """Play the inputs whose numbers arrive."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    at_home()
    connection.send("ready")
    while True:
        try:
            number = connection.recv()
        except EOFError:
            return
        connection.send(judged(seed, number, bases, connection.send))


def alone(_jobs: int | None, _scheduler: str | None) -> Alone:
    """Return a crew of this process: others would take longer to start than to play a sweep."""
    return Alone()


def at_home() -> None:
    """Let sweeps play their points in this process."""
    crew.crew = alone


def play(seed: int, numbers: Sequence[int], processes: int, bases: Path) -> Iterator[Outcome]:
    """Yield the outcomes of inputs, as they come."""
    workers = [Worker(seed, bases) for _ in range(min(processes, len(numbers)))]
    left = iter(numbers)
    try:
        for worker in workers:
            worker.give(next(left))
        while busy := [worker for worker in workers if worker.number >= 0]:
            for worker in _told(busy):
                found = (
                    worker.replaced(f"hangs longer than {_SLACK * LIMIT:g} s")
                    if worker.late
                    else worker.take()
                )
                if found is None:
                    continue
                yield found
                if (number := next(left, None)) is not None:
                    worker.give(number)
    finally:
        for worker in workers:
            worker.close()


def _told(busy: list[Worker]) -> list[Worker]:
    """Return the workers that have something to tell, or are late."""
    heard = wait([worker.connection for worker in busy], timeout=1.0)
    return [worker for worker in busy if worker.connection in heard or worker.late]
