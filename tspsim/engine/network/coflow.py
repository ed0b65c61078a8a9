"""Fluid coflows on directed links: who shares links with whom, and when each one is through.

A coflow is the traffic of one collective, or of one hop of a shift: it loads several links in fixed
proportions, so it has one speed. Speeds are max-min fair (`tspsim.engine.network.filling`). A
coflow that starts or ends re-rates only those it shares links with, directly or through others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np

from tspsim.engine.calendar import Afterwards, Calendar, Clock
from tspsim.engine.folding.fold import Asymmetric, Fold, Footprint
from tspsim.engine.network.filling import crossings, fair

Loads = tuple[tuple[int, float], ...]


class Flow:
    """One coflow that is under way.

    Parameters
    ----------
    pattern : int
        Which links it loads: what `Network.pattern` returned.
    alone : float
        Seconds that it takes when it shares no link.
    """

    __slots__ = ("end", "left", "pattern", "rate", "since", "start")

    def __init__(self, pattern: int, alone: float) -> None:
        self.pattern = pattern
        self.left = alone  # seconds alone that remain at `since`
        self.rate = 0.0  # fraction of the speed that it has alone
        self.start = self.since = 0.0
        self.end = -1.0  # when it is through at this rate; negative: not under way


AnyFlow = TypeVar("AnyFlow", bound=Flow)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Link loads of a coflow, relative to its bottleneck: the link it fills first when alone.

    A coflow's speed is the bytes/s that it puts on its bottleneck.

    Parameters
    ----------
    weights : tuple of (int, float)
        Of the coflow, and of its images in a folded run.
    own : tuple of (int, float)
        Of the coflow alone.
    bandwidth : float
        Of the bottleneck.
    alone : float
        Part of its own speed that it has when only its images share links with it.
    uneven, moving
        As in `Footprint`.
    """

    weights: Loads
    own: Loads
    bandwidth: float
    alone: float
    uneven: frozenset[str]
    moving: tuple[int, ...]


class Network(Generic[AnyFlow]):
    """The links and the coflows on them.

    Parameters
    ----------
    environment : Clock
    bandwidth : sequence of float
        Bytes/s by link.
    through : callable
        Called with every flow whose last byte has arrived.
    fold : Fold, optional
        Whose images share the links too: every pattern has a footprint then.
    """

    def __init__(
        self,
        environment: Clock,
        bandwidth: Sequence[float],
        through: Callable[[list[AnyFlow]], None],
        fold: Fold | None = None,
    ) -> None:
        self._environment = environment
        self._bandwidth = bandwidth
        self._limits = np.array(bandwidth, dtype=np.float64)  # the same, as `fair` reads it
        self._through = through
        self._fold = fold
        self._patterns: list[Pattern] = []
        self._known: dict[tuple[Loads, float, Footprint], int] = {}
        self._near: list[set[int]] = []  # patterns that share a link, by pattern
        self._users: dict[int, list[int]] = {}  # patterns that load a link, by link
        self._flows: dict[int, list[AnyFlow]] = {}  # flows under way, by pattern
        self._active: set[int] = set()  # the keys of the above, for fast intersections
        self._dirty: dict[int, None] = {}  # patterns of which flows came or went, in order
        self._rates: dict[tuple[tuple[int, ...], tuple[int, ...]], list[float]] = {}
        self._ends: Calendar[AnyFlow] = Calendar(environment, self._due)
        self._later = Afterwards(environment, self._settle)

    def pattern(self, loads: Loads, held: float = 1.0, footprint: Footprint | None = None) -> int:
        """Return the number that stands for these loads: (link, bytes per byte of message).

        A flow that holds only a part of its bottleneck when alone leaves the rest to others. In a
        folded run its images take their share of the links too: its footprint.
        """
        footprint = footprint or Footprint(loads)
        key = loads, held, footprint
        if key not in self._known:
            self._known[key] = self._register(loads, held, footprint)
        return self._known[key]

    def _register(self, loads: Loads, held: float, footprint: Footprint) -> int:
        number = len(self._patterns)
        bandwidth = self._bandwidth
        bottleneck, unit = max(loads, key=lambda item: item[1] / bandwidth[item[0]])
        own, shares = (
            tuple((link, load / unit * held) for link, load in some if load > 0)
            for some in (loads, footprint.loads)
        )
        full = bandwidth[bottleneck]
        alone = min(1.0, min(bandwidth[link] / share for link, share in shares) / full)
        self._patterns.append(Pattern(shares, own, full, alone, *footprint[1:]))
        near: set[int] = set()
        for link, _ in shares:
            users = self._users.setdefault(link, [])
            near.update(users)
            users.append(number)
        for other in near:
            self._near[other].add(number)
        self._near.append(near)
        return number

    def start(self, flow: AnyFlow) -> None:
        """Put a flow on its links; its speed is known once the moment is over."""
        flow.start = flow.since = self._environment.now
        flow.end = flow.start  # under way; a real end follows when rates settle
        self._flows.setdefault(flow.pattern, []).append(flow)
        self._active.add(flow.pattern)
        self._touch(flow.pattern)

    def _touch(self, pattern: int) -> None:
        self._dirty[pattern] = None
        self._later.request()

    def _due(self, flows: list[AnyFlow]) -> None:
        """Take off the flows that end now; an entry from before a re-rating is stale."""
        now = self._environment.now
        done = []
        for flow in flows:
            if flow.end == now and flow.rate:
                flow.end, flow.rate = -1.0, 0.0
                self._remove(flow)
                done.append(flow)
        if done:
            self._through(done)

    def _remove(self, flow: AnyFlow) -> None:
        flows = self._flows[flow.pattern]
        flows.remove(flow)
        if not flows:
            del self._flows[flow.pattern]
            self._active.discard(flow.pattern)
        if flows or not self._near[flow.pattern].isdisjoint(self._active):
            self._touch(flow.pattern)  # others have more room now

    def _settle(self) -> None:
        """Re-rate every component that a flow joined or left in this moment."""
        dirty, self._dirty = self._dirty, {}
        seen: set[int] = set()
        for pattern in dirty:
            if pattern in self._active:
                seeds: Sequence[int] = (pattern,)
            else:
                seeds = sorted(self._near[pattern] & self._active)
            for seed in seeds:
                if seed not in seen:
                    component = self._component(seed)
                    seen |= component
                    self._rate(tuple(sorted(component)))

    def _component(self, seed: int) -> set[int]:
        """Return the active patterns that share links with one, directly or through others."""
        found, front = {seed}, [seed]
        while front:
            new = (self._near[front.pop()] & self._active) - found
            found |= new
            front.extend(new)
        return found

    def _rate(self, component: tuple[int, ...]) -> None:
        rates = self._fair(component)
        now = self._environment.now
        for pattern, rate in zip(component, rates, strict=True):
            for flow in self._flows[pattern]:
                if flow.rate == rate:
                    continue  # nothing changed for it; leave its end alone, to the last bit
                flow.left = max(0.0, flow.left - (now - flow.since) * flow.rate)
                flow.since, flow.rate = now, rate
                flow.end = self._ends.add(flow.left / rate, flow)

    def _fair(self, component: tuple[int, ...]) -> list[float]:
        """Return the speed of every pattern as a fraction of what it has alone.

        Rates depend on the active patterns alone, and a schedule repeats itself layer by layer:
        all but the first few are looked up.
        """
        counts = tuple(len(self._flows[pattern]) for pattern in component)
        if counts == (1,):
            return [self._patterns[component[0]].alone]
        key = (component, counts)
        if key not in self._rates:
            patterns = [self._patterns[number] for number in component]
            uneven = frozenset[str]().union(*(pattern.uneven for pattern in patterns))
            if uneven:
                speeds = self._apart(patterns, counts, uneven)
            else:
                shared = crossings([p.weights for p in patterns], counts)
                speeds = fair(shared, len(patterns), self._limits).tolist()
            pairs = zip(speeds, patterns, strict=True)
            self._rates[key] = [min(1.0, speed / p.bandwidth) for speed, p in pairs]
        return self._rates[key]

    def _apart(
        self, patterns: Sequence[Pattern], counts: Sequence[int], uneven: frozenset[str]
    ) -> list[float]:
        """Return the speeds where links are loaded unevenly along some axes.

        Raises
        ------
        Asymmetric
            When one of the images of a pattern along these axes has another speed than it.
        """
        assert self._fold is not None
        images = [self._fold.apart(p.own, p.moving, uneven) for p in patterns]
        of = np.repeat(np.arange(len(patterns)), [len(some) for some in images])
        weights = [loads for some in images for loads in some]
        shared = crossings(weights, np.array(counts)[of].tolist())
        speeds = fair(shared, len(weights), self._limits)
        first = speeds[np.searchsorted(of, np.arange(len(patterns)))]
        if not np.array_equal(speeds, first[of]):
            raise Asymmetric(uneven)
        found: list[float] = first.tolist()
        return found
