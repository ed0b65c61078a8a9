"""The sends of one collective call as flat arrays: what each one loads, and what it waits for.

Every member goes through the steps of its algorithm in order. It is through with a step when all
that it sends and receives in it is, and a send begins when both of its ends are through with their
earlier steps: what is forwarded has arrived, and the receiver has room for it, as in a hop of a
shift. Members that a delay has not reached yet go on.

A gate is one member's part in one step. It opens when the member is through with its steps before.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.plan import Plan
from tspsim.collectives.waves import Wave, Waves, unrolled
from tspsim.engine.calls import Call
from tspsim.engine.patterns import Loads
from tspsim.engine.ragged import Integers
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology

Floats = NDArray[np.float64]
Small = NDArray[np.int32]  # there are millions of these

#: ``number(loads, held)``: what `Network.pattern` returns for a route.
Number = Callable[[Loads, float], int]

#: A share of a latency below which a difference of sums is float rounding.
_DUST = 1e-12

#: Parts into which a pipelined message is cut at most: without latency the best number is endless.
MOST_PARTS = 4096


class Kinds(NamedTuple):
    """Sends that differ in nothing but their moment, by kind.

    Attributes
    ----------
    source, target : ndarray of int64
        Ranks.
    share : ndarray of float64
        Bytes per byte of message.
    pattern : ndarray of int64
        The route, as the network numbers it; -1 where nothing travels.
    alone, latency : ndarray of float64
        Seconds of the transfer where it shares no link, and seconds before its first byte.
    """

    source: Integers
    target: Integers
    share: Floats
    pattern: Integers
    alone: Floats
    latency: Floats


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """All sends of a call, step by step; those of one gate stand together.

    Parameters
    ----------
    kinds : Kinds
    kind : ndarray of int32, shape (sends,)
    sent_from, sent_to : ndarray of int32, shape (sends,)
        The gate of the sender and that of the receiver.
    first, count : ndarray of int32, shape (gates,)
        The sends that leave from a gate.
    arriving, arrivals : ndarray of int32, shape (gates,)
        The sends that arrive at a gate: where they stand in `incoming`, and how many they are.
    incoming : ndarray of int32, shape (sends,)
        All sends, those that arrive at one gate together.
    following : ndarray of int32, shape (gates,)
        The gate that opens when this one is passed; -1: it was the member's last.
    opening : ndarray of int64
        The gates that are open from the start.
    before : float
        Seconds before anything begins: the latency of the protocol.
    whole : bool
        Its one "send" is the collective as a coflow, which has no sender and receiver.
    """

    kinds: Kinds
    kind: Small
    sent_from: Small
    sent_to: Small
    first: Small
    count: Small
    arriving: Small
    arrivals: Small
    incoming: Small
    following: Small
    opening: Integers
    before: float
    whole: bool = False


def undivided(call: Call) -> Layout:
    """Return the layout of a call that is played as one coflow."""
    zero, times = np.zeros(1, dtype=np.int64), np.array([[call.alone], [call.overhead]])
    kinds = Kinds(zero, zero, np.ones(1), zero + call.pattern, *times)
    gate = zero.astype(np.int32)
    one, last = gate + np.int32(1), gate - np.int32(1)
    return Layout(
        kinds, gate, gate, gate, gate, one, gate, one, gate, last, zero, 0.0, whole=True
    )  # fmt: skip


def lay_out(call: Call, topology: Topology, number: Number) -> Layout:
    """Return the sends of a call, or the call undivided where its algorithm has none.

    Parameters
    ----------
    call : Call
    topology : Topology
    number : callable
        Numbers the routes.
    """
    waves, plan, size = waves_of(call, topology), call.plan, call.message.bytes
    if waves is None:
        return undivided(call)
    routes = _Routes(call.ranks, topology)
    parts = best_parts(plan, size, topology) if waves.pipelined else 1
    played = unrolled(waves, parts) if parts > 1 else waves.waves
    efficiency = plan.efficiency
    if waves.serial:  # that its steps follow each other is played, not a property of the links
        efficiency *= routes.one_by_one(waves) / routes.together(waves)
    share = 1 / waves.pieces / parts
    kinds = _kinds(played, routes, share, size / efficiency, plan.held, number)
    protocol = plan.latency - routes.latency(waves)
    return _gates(played, kinds, protocol if protocol > _DUST * plan.latency else 0.0)


def waves_of(call: Call, topology: Topology) -> Waves | None:
    """Return what the members of a call send; None where they do not send to each other.

    An algorithm tells by a method ``waves``; see `tspsim.collectives.algorithm.Sending`.
    """
    name, (kind, _, root, _) = call.plan.algorithm, call.message
    tell = getattr(COLLECTIVES.get(name), "waves", None) if name in COLLECTIVES.names() else None
    found: Waves | None = tell(kind, call.ranks, topology, root) if tell else None
    return found


def best_parts(plan: Plan, size: float, topology: Topology) -> int:
    """Return into how many parts a pipelined message is cut: the best whole number.

    ``(k + stages) * (step_latency + T / k)`` is least at ``k = sqrt(stages * T / step_latency)``.
    """
    transfer = size * plan.slowest(topology)
    if plan.stages * transfer <= plan.step_latency:
        return 1
    best = math.inf
    if plan.step_latency:
        best = math.sqrt(plan.stages * transfer / plan.step_latency)
    if best >= MOST_PARTS:
        return MOST_PARTS
    around = {math.floor(best), math.ceil(best)}
    return min(around, key=lambda k: (k + plan.stages) * (plan.step_latency + transfer / k))


class _Routes:
    """Links, pace and latency between members, looked up once per pair."""

    def __init__(self, ranks: tuple[int, ...], topology: Topology) -> None:
        self.ranks, self._topology = np.array(ranks), topology
        self._known: dict[tuple[int, int], tuple[tuple[int, ...], float, float]] = {}

    def of(self, source: int, target: int) -> tuple[tuple[int, ...], float, float]:
        """Return links, seconds per byte, and latency of the route between two members."""
        pair = source, target
        if pair not in self._known:
            ranks, links = self.ranks, self._topology.links
            route = self._topology.route(int(ranks[source]), int(ranks[target]))
            pace = max((1 / links[link].bandwidth for link in route), default=0.0)
            self._known[pair] = route, pace, sum(links[link].latency for link in route)
        return self._known[pair]

    def latency(self, waves: Waves) -> float:
        """Return the sum of the longest latencies of the steps, as `Plan.latency` has it."""
        latencies: list[float] = []
        for wave in waves.waves:
            pairs = zip(wave.source.tolist(), wave.target.tolist(), strict=True)
            latencies += [max((self.of(*pair)[2] for pair in pairs), default=0.0)] * wave.times
        return sum(latencies)

    def together(self, waves: Waves) -> float:
        """Return the seconds of the slowest link when all steps come at once, per byte chunk."""
        return max(self._seconds(waves.waves).values(), default=0.0)

    def one_by_one(self, waves: Waves) -> float:
        """Return the seconds of the slowest link of every step, added up, per byte chunk."""
        return sum(max(self._seconds((wave,)).values(), default=0.0) for wave in waves.waves)

    def _seconds(self, waves: tuple[Wave, ...]) -> dict[int, float]:
        seconds: dict[int, float] = {}
        for wave in waves:
            for source, target, chunks in zip(*(part.tolist() for part in wave[:3]), strict=True):
                for link in self.of(source, target)[0]:
                    more = chunks * wave.times / self._topology.links[link].bandwidth
                    seconds[link] = seconds.get(link, 0.0) + more
        return seconds


def _kinds(
    waves: tuple[Wave, ...], routes: _Routes, share: float, size: float, held: float, number: Number
) -> Kinds:
    """Return what the sends of every wave load; `size` counts what the protocol adds."""
    source, target, chunks = (
        np.concatenate([wave[i] for wave in waves] or [np.empty(0, dtype=np.int64)])
        for i in range(3)
    )
    numbers: dict[tuple[int, ...], int] = {(): -1}
    pattern, pace, latency = [], [], []
    for pair in zip(source.tolist(), target.tolist(), strict=True):
        route, seconds, before = routes.of(*pair)
        if route not in numbers:
            numbers[route] = number(tuple((link, 1.0) for link in route), held)
        pattern.append(numbers[route])
        pace.append(seconds)
        latency.append(before)
    shares = chunks * share
    return Kinds(
        routes.ranks[source],
        routes.ranks[target],
        shares,
        np.array(pattern, dtype=np.int64),
        size * shares * np.array(pace, dtype=np.float64),
        np.array(latency, dtype=np.float64),
    )


def _gates(waves: tuple[Wave, ...], kinds: Kinds, before: float) -> Layout:
    """Return the layout of steps: every wave as often as it comes."""
    build = _Build()
    for wave in waves:
        build.add(wave)
    return build.layout(kinds, before)


class _Build:
    """Adds up waves to a layout."""

    def __init__(self) -> None:
        self._columns: list[tuple[Small, ...]] = [(_none(),) * 4]  # kind, from, to, incoming
        # first, count, arriving, arrivals, following
        self._gates: list[tuple[Small, ...]] = [(_none(),) * 5]
        self._kinds = self._sends = self._number = 0
        self._last: dict[int, int] = {}  # last gate so far, by member
        self._opening: list[int] = []
        self._joints: list[tuple[int, int]] = []  # gates of different waves that follow each other

    def add(self, wave: Wave) -> None:
        members, place = np.unique(np.concatenate([wave.source, wave.target]), return_inverse=True)
        n, m, times = len(wave.source), len(members), wave.times
        source, target = place[:n].astype(np.int32), place[n:].astype(np.int32)
        step = np.arange(times, dtype=np.int32)[:, None]
        sends, gate = step * np.int32(n), step * np.int32(m) + np.int32(self._number)
        kind = np.arange(self._kinds, self._kinds + n, dtype=np.int32)
        order = (np.argsort(target, kind="stable") + self._sends).astype(np.int32)
        self._columns.append(
            (np.tile(kind, times), _flat(gate, source), _flat(gate, target), _flat(sends, order))
        )
        leaving, arriving = (self._slices(ends, m) for ends in (source, target))
        following = _flat(gate, np.arange(m, 2 * m, dtype=np.int32))
        following[-m:] = -1
        self._gates.append(
            (
                _flat(sends, leaving[0]), np.tile(leaving[1], times),
                _flat(sends, arriving[0]), np.tile(arriving[1], times), following,
            )
        )  # fmt: skip
        self._join(members.tolist(), (times - 1) * m)
        self._kinds += n
        self._sends += n * times
        self._number += m * times

    def _slices(self, ends: Small, members: int) -> tuple[Small, Small]:
        """Return where the sends of every member begin when sorted by it, and how many they are."""
        count = np.bincount(ends, minlength=members).astype(np.int32)
        return (np.cumsum(count) - count + self._sends).astype(np.int32), count

    def _join(self, members: list[int], to_last: int) -> None:
        for gate, member in enumerate(members, self._number):
            if member in self._last:
                self._joints.append((self._last[member], gate))
            else:
                self._opening.append(gate)
            self._last[member] = gate + to_last

    def layout(self, kinds: Kinds, before: float) -> Layout:
        kind, sent_from, sent_to, incoming = map(_joined, zip(*self._columns, strict=True))
        first, count, arriving, arrivals, following = map(_joined, zip(*self._gates, strict=True))
        if self._joints:
            earlier, later = np.array(self._joints).T
            following[earlier] = later
        opening = np.array(self._opening, dtype=np.int64)
        return Layout(
            kinds, kind, sent_from, sent_to, first, count, arriving, arrivals, incoming, following,
            opening, before,
        )  # fmt: skip


def _none() -> Small:
    return np.empty(0, dtype=np.int32)


def _flat(rows: Small, columns: Small) -> Small:
    """Return the sums of every row and every column, row by row."""
    return (rows + columns).ravel()


def _joined(parts: tuple[Small, ...]) -> Small:
    some = [part for part in parts if part.size]
    return some[0] if len(some) == 1 else np.concatenate(parts)
