"""Python's search for circles of references, put off while programs are recorded and played."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Search for no circles meanwhile; it decorates functions too.

    Programs are hundreds of thousands of small frozen values that hold none. To look through all
    of them, again and again while more are made, would take a third of a step's wall time.
    """
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()
