"""Software pipelining: later stages of earlier items run between earlier stages of later ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

Item = TypeVar("Item")


def staggered(
    items: Sequence[Item], stages: Sequence[Callable[[Item], Item]], lookahead: int
) -> None:
    """Pass every item through all stages, stage s of item i in turn ``i + s * lookahead``.

    With a lookahead of 0 an item finishes before the next one begins. With 1 and two stages the
    order is A0, A1 B0, A2 B1, ...: what A starts in the background has all of B to finish.

    Parameters
    ----------
    items : sequence
    stages : sequence of callable
        Each takes an item as the stage before left it, and returns it for the next.
    lookahead : int
    """
    done = list(items)
    turns = len(items) + (len(stages) - 1) * lookahead
    for turn in range(turns):
        for number, stage in enumerate(stages):
            index = turn - number * lookahead
            if 0 <= index < len(done):
                done[index] = stage(done[index])
