"""Who runs the points of a sweep: this process, processes of this machine, or a dask cluster."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from multiprocessing.connection import wait as wait_for
from typing import Any, Protocol

from tspsim import __version__
from tspsim.files.errors import UserError
from tspsim.files.extras import need
from tspsim.registry import Modules, register_all, registered
from tspsim.sweeps.work import Report, play

Batch = Sequence[tuple[int, Mapping[str, Any]]]

#: Seconds within which a scheduler has to answer.
PATIENCE = 6.0
#: Times that a dask scheduler gives a batch to another worker when its worker dies.
RETRIES = 3


class Crew(Protocol):
    """Takes batches of points and gives back a future for each."""

    #: How many batches are worth having under way.
    window: int
    #: Seconds that a batch should take.
    seconds: float
    #: What a future raises when the process that ran it died.
    deaths: tuple[type[BaseException], ...]

    def submit(self, batch: Batch) -> Future[Report]:
        """Start a batch."""

    def restart(self) -> None:
        """Make the crew whole again after a death."""

    def close(self) -> None:
        """Give up what is under way, and send everyone home."""


class Alone:
    """Nobody but this process, which runs one batch after another."""

    window, seconds = 1, 0.5
    deaths: tuple[type[BaseException], ...] = ()

    def submit(self, batch: Batch) -> Future[Report]:
        """Run a batch, and return its finished future."""
        future: Future[Report] = Future()
        future.set_result(play(batch, __version__))
        return future

    def restart(self) -> None:
        """Nobody but this process could have died."""

    def close(self) -> None:
        """Nothing is under way."""


class Local:
    """Processes of this machine.

    Parameters
    ----------
    jobs : int
        How many.
    """

    seconds = 0.25
    deaths: tuple[type[BaseException], ...] = (BrokenExecutor,)

    def __init__(self, jobs: int) -> None:
        self._jobs, self.window = jobs, 2 * jobs
        self._pool = self._start()

    def _start(self) -> Executor:
        # Not forked: a fork would share locks and threads of whoever imports tspsim.
        spawn = multiprocessing.get_context("spawn")
        known = (registered(),)  # as in this process
        return ProcessPoolExecutor(self._jobs, spawn, begin_worker, known)

    def submit(self, batch: Batch) -> Future[Report]:
        """Start a batch in one of the processes."""
        return self._pool.submit(play, batch, __version__)

    def restart(self) -> None:
        """Start new processes: a pool in which one died gives up all of its work."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()

    def close(self) -> None:
        """End the processes; what they are running is lost."""
        processes = list((getattr(self._pool, "_processes", None) or {}).values())
        self._pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def begin_worker(modules: Modules) -> None:
    """Make this process one that an interrupt leaves to its parent, and that ends with it.

    Parameters
    ----------
    modules : Modules
        What the parent has registered by hand: see `tspsim.registry.registered`.
    """
    register_all(modules)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """End when the parent has died, which a pool's processes would never notice themselves."""
    wait_for([sentinel])
    os._exit(1)


class Cluster:
    """The workers of a dask.distributed cluster that runs already.

    Parameters
    ----------
    address : str
        Of its scheduler: ``"tcp://host:8786"``.

    Raises
    ------
    UserError
        When dask is not installed, the scheduler does not answer, or it has no workers.
    """

    seconds = 1.0

    def __init__(self, address: str) -> None:
        self._client = _client(address)
        threads = self._client.nthreads()
        if not threads:
            self._client.close()
            raise UserError(f"the scheduler at {address} has no workers")
        self.window = 2 * sum(threads.values())
        killed = importlib.import_module("distributed.scheduler").KilledWorker
        self.deaths: tuple[type[BaseException], ...] = (killed,)
        self._pool = self._client.get_executor(pure=False, retries=RETRIES)

    def submit(self, batch: Batch) -> Future[Report]:
        """Start a batch on one of the workers."""
        future: Future[Report] = self._pool.submit(play, batch, __version__)
        return future

    def restart(self) -> None:
        """Do nothing: the scheduler has given the work to other workers already."""

    def close(self) -> None:
        """Take back what is under way; the cluster stays."""
        self._pool.shutdown(wait=False)
        self._client.close()


def _client(address: str) -> Any:
    """Return a client of a scheduler, or say in time that there is none.

    Whoever accepts the connection and says nothing would keep the client waiting for minutes,
    whatever timeout it is given: so it connects on a thread that can be left behind.
    """
    check(address)
    distributed, box = importlib.import_module("distributed"), Future[Any]()

    def connect() -> None:
        try:
            found = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
        except Exception as error:
            box.set_exception(error)
        else:
            box.set_result(found)

    threading.Thread(target=connect, daemon=True).start()
    try:
        return box.result(PATIENCE + 1)
    except TimeoutError:
        told = f"nothing was heard in {PATIENCE:g} s"
    except Exception as error:
        told = str(error).partition("\n")[0] or type(error).__name__
    raise UserError(f"no scheduler answers at {address}: {told}")


def check(scheduler: str | None) -> None:
    """Raise, before anything is enumerated or stored, where a cluster is asked for without dask.

    Raises
    ------
    UserError
        It names the command that installs it.
    """
    if scheduler is not None:
        need("distributed", "cluster", "--scheduler")


def crew(jobs: int | None, scheduler: str | None) -> Crew:
    """Return a cluster's workers, as many processes, or this process alone where both are None."""
    if scheduler is not None:
        return Cluster(scheduler)
    return Alone() if jobs is None else Local(jobs)
