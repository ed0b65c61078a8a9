"""Software pipelining: what is issued ahead of its turn, so that it has time to arrive."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from tspsim.program.axis import Axis
from tspsim.program.ledger import Slots
from tspsim.program.packed import Packed

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


class Prefetch(Generic[Item]):
    """Items that are asked for some places before they are taken, in order.

    Communication waits for the compute issued before it, so what is to travel behind a
    computation has to be issued in front of it.

    Parameters
    ----------
    issue : callable
        Called with 0, 1, ... once per item: begins its transfer and returns it.
    count : int
        Items in all.
    depth : int
        How many are on their way, or there, when one is taken; the first ones are issued at once.
    """

    def __init__(self, issue: Callable[[int], Item], count: int, depth: int) -> None:
        self._issue, self._count = issue, count
        self._waiting: deque[Item] = deque()
        self._issued = 0
        for _ in range(depth):
            self._more()

    def _more(self) -> None:
        if self._issued < self._count:
            self._waiting.append(self._issue(self._issued))
            self._issued += 1

    def take(self) -> Item:
        """Return the next item, and issue the one that is `depth` places behind it."""
        item = self._waiting.popleft()
        self._more()
        return item


def hops(axis: Axis, own: Packed, slots: Slots, depth: int, label: str) -> Prefetch[Packed]:
    """Return the shards that come by on a ring after a rank's own, the next ones on their way.

    Parameters
    ----------
    axis : Axis
    own : Packed
    slots : Slots
        Where they arrive.
    depth : int
        How many are on their way while one is used.
    label : str
    """
    last = own

    def issue(_: int) -> Packed:
        nonlocal last
        (flat,) = axis.shift(last.flat, lane="ring", label=label, into=slots)
        last = own.over(flat)
        return last

    return Prefetch(issue, axis.degree - 1, depth)
