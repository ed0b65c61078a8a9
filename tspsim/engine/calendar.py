"""What happens when: one SimPy event per distinct moment, shared by everything due then.

Symmetric ranks end most of their tasks at exactly the same time, so sharing events is what makes
a run fast. Within a moment things keep the order in which they were added: runs are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heappush
from typing import Any, Generic, TypeVar

import simpy
from simpy.events import NORMAL, EventPriority

Thing = TypeVar("Thing")

#: After every normal event of the same moment.
_LAST = EventPriority(2)


class Clock(simpy.Environment):
    """SimPy's environment, in which an event can be put at a moment, not only behind a delay.

    ``now + (moment - now)`` is not always `moment` to the last bit, and equal ranks have to end at
    equal moments.
    """

    def at(self, moment: float) -> simpy.Event:
        """Return an event of its own at a moment that is still to come."""
        event = self.event()
        event._ok, event._value = True, None  # as Event.succeed does
        heappush(self._queue, (moment, NORMAL, next(self._eid), event))
        return event


class Calendar(Generic[Thing]):
    """Hands out the things that are due, moment by moment.

    Parameters
    ----------
    environment : simpy.Environment
    handle : callable
        Called with the list of things due, once per moment (again when more are added for the
        moment that is being handled).
    """

    __slots__ = ("_buckets", "_environment", "_handle")

    def __init__(self, environment: Clock, handle: Callable[[list[Thing]], None]) -> None:
        self._environment = environment
        self._handle = handle
        self._buckets: dict[float, list[Thing]] = {}

    def add(self, delay: float, thing: Thing) -> float:
        """Put a thing `delay` seconds from now; return the moment it is due."""
        return self.put(self._environment.now + delay, thing)

    def put(self, moment: float, thing: Thing) -> float:
        """Put a thing at a moment, which is returned."""
        bucket = self._buckets.get(moment)
        if bucket is None:
            self._buckets[moment] = [thing]
            self._environment.at(moment).callbacks.append(self._fire)
        else:
            bucket.append(thing)
        return moment

    def _fire(self, _: Any) -> None:
        self._handle(self._buckets.pop(self._environment.now))


class Afterwards:
    """Runs an action once, after everything else of the moment in which it was requested.

    Rates are worked out there: when ten transfers start and end at one moment, they are worked
    out once and not ten times.
    """

    __slots__ = ("_action", "_environment", "_requested")

    def __init__(self, environment: simpy.Environment, action: Callable[[], None]) -> None:
        self._environment = environment
        self._action = action
        self._requested = False

    def request(self) -> None:
        """Ask for the action; asking again in the same moment changes nothing."""
        if self._requested:
            return
        self._requested = True
        event = self._environment.event()
        event._ok, event._value = True, None  # as Event.succeed does, but with a later priority
        event.callbacks.append(self._fire)
        self._environment.schedule(event, _LAST)

    def _fire(self, _: Any) -> None:
        self._requested = False
        self._action()
