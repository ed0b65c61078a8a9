"""Flows by the thousand on directed links: `tspsim.engine.network.coflow` over flat arrays.

The single sends of a collective start and end in large batches, a batch per moment, so the state of
all flows lies in arrays and a batch is handled by a few array operations. Every flow keeps its own
links, its own speed and its own end. Where no link of a moment has more than one flow, all that
start run at the speed that they have alone; otherwise those that share links with what came or
went, directly or through others, get max-min fair speeds, and nobody else is touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.calendar import Afterwards, Calendar, Clock
from tspsim.engine.network.filling import fair
from tspsim.engine.network.patterns import Loads, Patterns
from tspsim.engine.network.ragged import Integers
from tspsim.engine.network.slots import Slots

Floats = NDArray[np.float64]

#: ``through(owners, items)``: the labels of flows whose last byte has arrived.
Through = Callable[[Integers, Integers], None]

_NONE: Integers = np.empty(0, dtype=np.int64)


class Flows:
    """The links and the flows on them, shared max-min fairly.

    Parameters
    ----------
    environment : Clock
    bandwidth : sequence of float
        Bytes/s by link.
    through : callable
    """

    def __init__(self, environment: Clock, bandwidth: Sequence[float], through: Through) -> None:
        self._environment, self._through = environment, through
        self._bandwidth = np.array(bandwidth, dtype=np.float64)
        self._patterns, self._slots = Patterns(bandwidth), Slots()
        self._count = np.zeros(len(bandwidth), dtype=np.int64)  # flows under way, by link
        self._mark = np.zeros(len(bandwidth), dtype=bool)  # all False between two uses
        self._began: list[Integers] = []  # slots of flows that started in this moment
        self._quitted: list[Integers] = []  # links that flows left in this moment
        self._stale = False  # a flow may have several entries in the calendar
        self._ends: Calendar[Integers] = Calendar(environment, self._due)
        self._later = Afterwards(environment, self._settle)

    def pattern(self, loads: Loads, held: float = 1.0) -> int:
        """Return the number that stands for these loads; see `Network.pattern`."""
        return self._patterns.number(loads, held)

    def start(self, patterns: Integers, alone: Floats, owner: int, items: Integers) -> None:
        """Put flows on their links; their speeds are known once the moment is over.

        Parameters
        ----------
        patterns : ndarray of int64, shape (flows,)
        alone : ndarray of float64, shape (flows,)
            Seconds that each takes when it shares no link; positive.
        owner : int
        items : ndarray of int64, shape (flows,)
            Labels, given back when a flow is through.
        """
        slots, state = self._slots.take(len(patterns)), self._slots
        state.pattern[slots], state.left[slots] = patterns, alone
        state.owner[slots], state.item[slots] = owner, items
        state.rate[slots] = 0.0
        np.add.at(self._count, self._patterns.links(patterns), 1)
        self._began.append(slots)
        self._later.request()

    def _due(self, batches: list[Integers]) -> None:
        """Take off the flows that end now; an entry from before a re-rating is stale."""
        slots, state = _joined(batches), self._slots
        slots = slots[state.end[slots] == self._environment.now]
        if self._stale:
            slots = np.unique(slots)
        if not slots.size:
            return
        links = self._patterns.links(state.pattern[slots])
        np.subtract.at(self._count, links, 1)
        self._quitted.append(links)
        owners, items = state.owner[slots], state.item[slots]
        state.give_back(slots)
        self._later.request()
        self._through(owners, items)

    def _settle(self) -> None:
        """Re-rate every component that a flow joined or left in this moment."""
        began, quitted = _joined(self._began), _joined(self._quitted)
        self._began, self._quitted = [], []
        entered = self._patterns.links(self._slots.pattern[began]) if began.size else _NONE
        # Links that flows left and where others remain that did not just start.
        quitted = quitted[self._count[quitted] > 0]
        if quitted.size and entered.size:
            self._mark[entered] = True
            quitted = quitted[~self._mark[quitted]]
            self._mark[entered] = False
        if not quitted.size and not (self._count[entered] > 1).any():
            self._rate(began, np.ones(len(began)))
            return
        slots = self._component(np.concatenate([entered, quitted]))
        patterns = self._slots.pattern[slots]
        speeds = fair(self._patterns.crossings(patterns), len(slots), self._bandwidth)
        self._rate(slots, np.minimum(1.0, speeds / self._patterns.alone(patterns)))

    def _component(self, links: Integers) -> Integers:
        """Return the slots of flows that are on some links, or share links with such a flow."""
        slots = np.flatnonzero(self._slots.alive)
        crossings = self._patterns.crossings(self._slots.pattern[slots])
        found = np.zeros(len(slots), dtype=bool)
        self._mark[links] = True
        known = -1
        while (count := int(np.count_nonzero(found))) > known:
            known = count
            found[crossings.flow[self._mark[crossings.link]]] = True
            self._mark[crossings.link[found[crossings.flow]]] = True
        self._mark[links] = False
        self._mark[crossings.link] = False
        return slots[found]

    def _rate(self, slots: Integers, rates: Floats) -> None:
        state, now = self._slots, self._environment.now
        changed = state.rate[slots] != rates  # leave the others' ends alone, to the last bit
        slots, rates = slots[changed], rates[changed]
        if not slots.size:
            return
        before = state.rate[slots]
        self._stale = self._stale or bool(before.any())
        done = np.where(before > 0, (now - state.since[slots]) * before, 0.0)
        state.left[slots] = np.maximum(0.0, state.left[slots] - done)
        state.since[slots], state.rate[slots] = now, rates
        delays = state.left[slots] / rates
        state.end[slots] = now + delays
        for delay, which in by_value(delays):
            self._ends.add(delay, slots[which])


def by_value(values: Floats | Integers) -> list[tuple[float, Integers | slice]]:
    """Return every distinct value with the places where it stands, in order of the values."""
    if values.min() == values.max():
        return [(float(values[0]), slice(None))]
    distinct, group = np.unique(values, return_inverse=True)
    order = np.argsort(group, kind="stable")
    places = np.split(order, np.flatnonzero(np.diff(group[order])) + 1)
    return list(zip(distinct.tolist(), places, strict=True))


def _joined(parts: list[Integers]) -> Integers:
    if len(parts) == 1:
        return parts[0]
    return np.concatenate(parts) if parts else _NONE
