"""The sends of one collective call: what each one loads, and what it waits for."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.algorithm import Algorithm
from tspsim.collectives.plan import Plan
from tspsim.collectives.waves import Wave, Waves, unrolled
from tspsim.engine.network.calls import Call
from tspsim.engine.network.gates import Gates, gates_of
from tspsim.engine.network.patterns import Loads
from tspsim.engine.network.ragged import Integers
from tspsim.program.types import CollectiveKind
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology

Floats = NDArray[np.float64]

#: ``number(loads, held)``: what `Network.pattern` returns for a route.
Number = Callable[[Loads, float], int]

#: A share of a latency below which a difference of sums is float rounding.
_DUST = 1e-12

#: Parts into which a pipelined message is cut at most: without latency the best number is endless.
MOST_PARTS = 4096
#: Bytes of a part at least: the payload of one packet of a device link (PCIe, NVLink).
LEAST_PART = 256
#: Share of its transfer that a message without latency takes longer than in endlessly many parts.
FILL = 0.01


class Kinds(NamedTuple):
    """SendPlan that differ in nothing but their moment, by kind.

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
class SendPlan:
    """All sends of a call: what each one loads, and what it waits for.

    Parameters
    ----------
    kinds : Kinds
    gates : Gates
    before : float
        Seconds before anything begins: the latency of the protocol.
    whole : bool
        Its one "send" is the collective as a coflow, which has no sender and receiver.
    """

    kinds: Kinds
    gates: Gates
    before: float
    whole: bool = False


def undivided(call: Call) -> SendPlan:
    """Return the layout of a call that is played as one coflow."""
    zero, times = np.zeros(1, dtype=np.int64), np.array([[call.alone], [call.overhead]])
    kinds = Kinds(zero, zero, np.ones(1), zero + call.pattern, *times)
    return SendPlan(kinds, gates_of([Wave(zero, zero, zero)]), 0.0, whole=True)


def sends_of(call: Call, topology: Topology, number: Number) -> SendPlan:
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
    routes = _Routes(call.ranks, topology, number)
    parts = best_parts(plan, size, topology, waves.pieces) if waves.pipelined else 1
    played = unrolled(waves, parts) if parts > 1 else waves.waves
    efficiency = plan.efficiency
    if waves.serial:  # that its steps follow each other is played, not a property of the links
        efficiency *= routes.one_by_one(waves) / routes.together(waves)
    share = 1 / waves.pieces / parts
    kinds = _kinds(played, routes, share, size / efficiency, plan.held)
    protocol = plan.latency - routes.latency(waves)
    if protocol <= _DUST * plan.latency:
        protocol = 0.0
    return SendPlan(kinds, gates_of(played), protocol)


def waves_of(call: Call, topology: Topology) -> Waves | None:
    """Return what the members of a call send; None where they do not send to each other."""
    if call.plan.algorithm not in COLLECTIVES.names():
        return None
    algorithm: Algorithm = COLLECTIVES.get(call.plan.algorithm)
    kind = "shift" if call.message.hop else call.message.collective
    return algorithm.waves(cast("CollectiveKind", kind), call.ranks, topology, call.message.root)


def best_parts(plan: Plan, size: float, topology: Topology, pieces: int = 1) -> int:
    """Return into how many parts a pipelined message is cut: the best whole number.

    ``(k + stages) * (step_latency + T / k)`` is least at ``k = sqrt(stages * T / step_latency)``.
    A piece is not cut below `LEAST_PART`, nor where more parts would shorten the transfer by less
    than `FILL`: ``T * stages / k`` is what `k` parts take longer than endlessly many.
    """
    transfer = size * plan.slowest(topology)
    if plan.stages * transfer <= plan.step_latency:
        return 1
    best = math.inf
    if plan.step_latency:
        best = math.sqrt(plan.stages * transfer / plan.step_latency)
    most = min(MOST_PARTS, plan.stages / FILL, size / pieces / LEAST_PART)
    if best >= most:
        return max(1, math.floor(most))
    around = {math.floor(best), math.ceil(best)}
    return min(around, key=lambda k: (k + plan.stages) * (plan.step_latency + transfer / k))


class _Routes:
    """Links, pace and latency between members, looked up once per pair."""

    def __init__(self, ranks: tuple[int, ...], topology: Topology, number: Number) -> None:
        self.ranks, self._topology, self._number = np.array(ranks), topology, number
        self._numbers: dict[tuple[int, ...], int] = {(): -1}
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

    def pattern(self, route: tuple[int, ...], held: float) -> int:
        """Return the number of a route of which a flow holds a part; -1 where it has no link."""
        if route not in self._numbers:
            self._numbers[route] = self._number(tuple((link, 1.0) for link in route), held)
        return self._numbers[route]

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
    waves: tuple[Wave, ...], routes: _Routes, share: float, size: float, held: float
) -> Kinds:
    """Return what the sends of every wave load; `size` counts what the protocol adds."""
    source, target, chunks = (
        np.concatenate([wave[i] for wave in waves] or [np.empty(0, dtype=np.int64)])
        for i in range(3)
    )
    pattern, pace, latency = [], [], []
    for pair in zip(source.tolist(), target.tolist(), strict=True):
        route, seconds, before = routes.of(*pair)
        pattern.append(routes.pattern(route, held))
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
