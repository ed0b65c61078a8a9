"""What happens when: one SimPy event per distinct moment, shared by everything due then.

Symmetric ranks end most of their tasks at exactly the same time, so sharing events is what makes
a run fast. Within a moment things keep the order in which they were added: runs are deterministic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

import simpy
from simpy.events import EventPriority

Thing = TypeVar("Thing")

#: After every normal event of the same moment.
_LAST = EventPriority(2)


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

    def __init__(
        self, environment: simpy.Environment, handle: Callable[[list[Thing]], None]
    ) -> None:
        self._environment = environment
        self._handle = handle
        self._buckets: dict[float, list[Thing]] = {}

    def add(self, delay: float, thing: Thing) -> float:
        """Put a thing `delay` seconds from now; return the moment it is due."""
        # SimPy adds the same two numbers, so the key is the event's time to the last bit.
        moment: float = self._environment.now + delay
        bucket = self._buckets.get(moment)
        if bucket is None:
            self._buckets[moment] = [thing]
            event = self._environment.timeout(delay)
            event.callbacks.append(self._fire)
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
