"""The door through which the engine has its collectives played, whatever the detail.

The engine says who has met; the player says which exchanges are through, and what they put on which
links. There is one player per run, so that the one form pays nothing for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple, Protocol, TypeAlias

from tspsim.engine.meetings import Meeting
from tspsim.engine.network.calls import ActiveCall

#: Called with the exchanges whose last byte has arrived.
Through: TypeAlias = Callable[[list[ActiveCall]], None]


class Carried(NamedTuple):
    """What one flow of an exchange carried.

    Attributes
    ----------
    member : int
        Position, among the tasks of the exchange, of the one that it is reported under.
    ranks : tuple of int
        The members of a coflow; sender and receiver of a send.
    loads : tuple of (int, float)
        Links and their bytes per byte of message.
    start, end : float
        Seconds.
    send : bool
        It is one send of the collective, not the whole of it.
    """

    member: int
    ranks: tuple[int, ...]
    loads: tuple[tuple[int, float], ...]
    start: float
    end: float
    send: bool = False


class Player(Protocol):
    """Plays the exchanges of one run."""

    def begin(self, meeting: Meeting, factor: float = 1.0) -> None:
        """Begin the exchange of those who have met; it takes `factor` times as long as it would."""

    def carried(self, exchange: ActiveCall) -> Iterator[Carried]:
        """Yield what an exchange carried; asked once, when it is through."""
