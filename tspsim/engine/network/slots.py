"""The state of many flows in flat arrays, one slot per flow under way."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.network.ragged import Integers

_FIRST = 256


class Slots:
    """Arrays by slot; a slot is free again when its flow is through.

    Attributes
    ----------
    pattern : ndarray of int64
        Which links the flow loads.
    owner, item : ndarray of int64
        The label under which it was started.
    left : ndarray of float64
        Seconds alone that remained at `since`.
    since, rate : ndarray of float64
        When its present speed began, and that speed as a fraction of what it has alone; 0 until
        the moment of its start is over.
    end : ndarray of float64
        When it is through at this rate; negative: not under way, or not rated yet.
    alive : ndarray of bool
    """

    __slots__ = ("_free", "alive", "end", "item", "left", "owner", "pattern", "rate", "since")

    def __init__(self) -> None:
        self.pattern = np.zeros(_FIRST, dtype=np.int64)
        self.owner, self.item = self.pattern.copy(), self.pattern.copy()
        self.left = np.zeros(_FIRST)
        self.since, self.rate, self.end = self.left.copy(), self.left.copy(), self.left - 1.0
        self.alive = np.zeros(_FIRST, dtype=bool)
        self._free: list[Integers] = [np.arange(_FIRST)]

    def take(self, count: int) -> Integers:
        """Return free slots; they are alive from now on."""
        parts, missing = [], count
        while missing:
            if not self._free:
                self._double(missing)
            free = self._free.pop()
            if len(free) > missing:
                self._free.append(free[missing:])
                free = free[:missing]
            parts.append(free)
            missing -= len(free)
        slots = parts[0] if len(parts) == 1 else np.concatenate(parts)
        self.alive[slots] = True
        return slots

    def give_back(self, slots: Integers) -> None:
        """Free the slots of flows that are through."""
        self.alive[slots] = False
        self.end[slots] = -1.0
        self._free.append(slots)

    def _double(self, missing: int) -> None:
        old = len(self.alive)
        more = max(old, missing)
        for name in ("alive", "item", "left", "owner", "pattern", "rate", "since"):
            values: NDArray[np.generic] = getattr(self, name)
            setattr(self, name, np.concatenate([values, np.zeros(more, dtype=values.dtype)]))
        self.end = np.concatenate([self.end, np.full(more, -1.0)])
        self._free.append(np.arange(old, old + more))
