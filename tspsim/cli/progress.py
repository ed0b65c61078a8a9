"""A progress bar on stderr, for runs that a person waits for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

#: Shorter runs end before anyone has read a bar.
PATIENCE = 2.0


@contextmanager
def progress(what: str, patience: float = PATIENCE) -> Iterator[Callable[[float], None]]:
    """Show how far a long run is; give back the function that is told the fraction done.

    Nothing is shown before `patience` seconds have passed, nor where stderr is not a terminal.

    Parameters
    ----------
    what : str
        What is being done: ``"simulating"``.
    patience : float
        Seconds before the bar appears.

    Examples
    --------
    >>> with progress("simulating") as advance:
    ...     advance(0.5)
    """
    bar = _Bar(what, patience)
    try:
        yield bar.advance if sys.stderr.isatty() else _ignore
    finally:
        bar.stop()


def _ignore(fraction: float) -> None:
    """Take a fraction and show nothing."""


class _Bar:
    """A rich progress bar that is made when it is first needed."""

    def __init__(self, what: str, patience: float) -> None:
        self._what, self._patience = what, patience
        self._begin = perf_counter()
        self._shown: Progress | None = None

    def advance(self, fraction: float) -> None:
        """Show a fraction between 0 and 1."""
        if self._shown is None:
            if perf_counter() - self._begin < self._patience:
                return
            self._shown = self._start()
        self._shown.update(self._shown.task_ids[0], completed=fraction)

    def _start(self) -> Progress:
        from rich.console import Console
        from rich.progress import Progress

        bar = Progress(console=Console(stderr=True), transient=True)
        bar.add_task(self._what, total=1.0)
        bar.start()
        return bar

    def stop(self) -> None:
        """Take the bar away."""
        if self._shown is not None:
            self._shown.stop()
