"""What FSDP2 did in one step on one rank: events in the order of issue, and the peak by kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

#: The name of the group of embedding, final norm and head.
ROOT = "root"


class Event(NamedTuple):
    """One thing that FSDP2 does, or the compute between two of them.

    Attributes
    ----------
    op : str
        ``all_gather``, ``reduce_scatter``, ``all_reduce``: issued. ``unshard``: the gathered
        buffer is waited for and copied out into the weights that compute reads. ``reshard``:
        those are let go (after a copy of 1/n of them, when n is given). ``forward``,
        ``backward``: a group's compute, from here on. ``optimizer``: its step.
    ranks : int
        Ranks of the collective; 0 where nothing is sent.
    bytes : int
        Of a collective: the whole message, padding included (the gathered size for all_gather and
        reduce_scatter), in the type that travels. Of ``unshard`` and ``reshard``: the whole
        weights that are allocated or let go.
    layer : str
        The group: a layer's number, or `ROOT`.
    alive : int
        Most bytes alive between it and the next event.
    """

    op: str
    ranks: int
    bytes: int
    layer: str
    alive: int


@dataclass(frozen=True, slots=True)
class Record:
    """One step.

    Parameters
    ----------
    events : tuple of Event
    peak : dict
        Bytes by kind at the peak, as FSDPMemTracker names them; ``Total`` is their sum.
    during : str
        What was going on at the peak: the last event before it, op and group.
    before : dict
        Bytes by kind when the step begins.
    """

    events: tuple[Event, ...]
    peak: dict[str, int]
    during: str
    before: dict[str, int]
