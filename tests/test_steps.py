"""Single sends against coflows, closed forms, exact arithmetic and published simulators."""

from __future__ import annotations

import csv
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import simpy
from hypothesis import given, settings
from hypothesis import strategies as st

import tspsim
from tests import toy
from tests.test_collectives import make
from tests.test_network import Arrival, arrivals, bandwidths, brute_force
from tests.toy import Toy, fabric, shared
from tspsim.collectives import direct, gloo, ring
from tspsim.collectives.choose import Planner
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Schedule, Send
from tspsim.collectives.waves import Wave, Waves, unrolled, waves_of
from tspsim.engine import flows as flows_module
from tspsim.engine import network as network_module
from tspsim.engine.alone import play_alone
from tspsim.engine.fifo import FifoNetwork
from tspsim.engine.filling import Crossings, fair
from tspsim.engine.flows import Flows
from tspsim.engine.layout import MOST_PARTS, best_parts
from tspsim.engine.meetings import Communicator, Meeting
from tspsim.engine.network import Flow, Loads, Network
from tspsim.engine.players import Carried
from tspsim.engine.rates import max_min
from tspsim.engine.simulate import simulate
from tspsim.engine.timeline import Timeline
from tspsim.engine.traffic import COFLOWS, Traffic
from tspsim.hardware import Profile, Protocol
from tspsim.mesh import Mesh
from tspsim.program.types import COLLECTIVE_KINDS, CollectiveKind, Message
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Link, Topology
from tspsim.topology.load import load

ROOT = Path(__file__).resolve().parent.parent
STEPS = Traffic("steps")
DEVICE = {
    "name": "x", "flop_rate": {"bf16": "100 TFLOP/s"}, "memory_bandwidth": "1 TB/s",
    "memory": "80 GB", "source": "made up",
}  # fmt: skip


def nodes(count: int, inside: str, size: int, fabric: str = "rails") -> Topology:
    """Return nodes of a size, joined by NICs that are slower than the links inside."""
    node = {"kind": inside, "ranks": size, "link": {"bandwidth": "50 GB/s", "latency": "1 us"}}
    return load(
        {
            "kind": "nodes", "nodes": count, "node": node, "fabric": fabric, "device": DEVICE,
            "nic": {"bandwidth": "25 GB/s", "latency": "4 us"},
        }  # fmt: skip
    )


TOPOLOGIES: dict[str, Topology] = {
    **{f"{kind}-{n}": make(kind, n) for kind in ("ring", "full", "switch") for n in (2, 3, 4, 5, 8)},
    "rail-4x1": nodes(4, "switch", 1),
    "rails-2x2": nodes(2, "full", 2),
    "rails-2x4": nodes(2, "full", 4),
    "tree-3x2": nodes(3, "switch", 2, "fat_tree"),
}


def members(kind: CollectiveKind, topology: Topology) -> tuple[int, ...]:
    """Return all devices; two of them for a hop."""
    return (0, 1) if kind == "shift" else tuple(range(len(topology.devices)))


def message(kind: CollectiveKind, size: int, root: int = 0) -> Message:
    """Return a message of a kind; the root counts where the kind has one."""
    return Message(kind, size, root if kind in ("broadcast", "reduce") else None)


def carried(
    sent: Message, ranks: tuple[int, ...], topology: Topology, algorithm: str
) -> list[Carried]:
    """Return every send of one call, played alone."""
    environment, ended = simpy.Environment(), []
    player = STEPS.player(environment, topology, Planner(topology, algorithm), ended.extend)
    whole = (*ranks, -1) if sent.collective == "shift" else ranks
    player.begin(Meeting(Communicator("test", whole), ranks, sent, []))
    environment.run()
    (exchange,) = ended
    return list(player.carried(exchange))


# ---------------------------------------------------------------- what is sent


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_reduce"])
def test_waves_of_a_ring_are_those_of_its_sends(kind: CollectiveKind) -> None:
    """The ring says in one wave what its schedule says send by send."""
    for n in (*range(2, 10), 16):
        topology = TOPOLOGIES.get(f"ring-{n}") or make("ring", n)
        short = Planner(topology, "ring").choose(kind, 1, tuple(range(n)), None).sends
        assert isinstance(short, Waves)
        assert len(short.waves) == 1
        long = waves_of(ring.sends(kind, n))
        assert (short.pieces, short.pipelined, short.serial) == (n, False, False)
        assert expanded(short.waves) == expanded(long.waves)


@pytest.mark.parametrize("kind", ["all_gather", "reduce_scatter", "all_reduce"])
def test_plan_of_a_ring_is_that_of_its_sends(kind: CollectiveKind) -> None:
    """Summing waves and summing sends give the same loads and latency, to the last bit."""
    for topology in (TOPOLOGIES["ring-5"], TOPOLOGIES["switch-8"], TOPOLOGIES["rails-2x4"]):
        ranks = members(kind, topology)
        plan = Planner(topology, "ring").choose(kind, 1, ranks, None)
        from tspsim.collectives.schedule import planned

        assert plan == planned("ring", ring.sends(kind, len(ranks)), ranks, topology)


def expanded(waves: Sequence[Wave]) -> list[list[tuple[int, ...]]]:
    """Return every step as a list of (source, target, chunks)."""
    steps = []
    for wave in waves:
        step = sorted(zip(*(part.tolist() for part in wave[:3]), strict=True))
        steps += [step] * wave.times
    return steps


@settings(deadline=None)
@given(st.integers(1, 9), st.integers(1, 12), st.sampled_from([ring, direct]), st.data())
def test_slots_hold_every_part_of_every_step(
    parts: int, n: int, algorithm: object, data: st.DataObject
) -> None:
    """Part p passes step s in slot p + s, whatever the numbers of parts and steps."""
    n = max(n, 2)
    root = data.draw(st.integers(0, n - 1))
    schedule: Schedule = algorithm.sends("broadcast", n, root)  # type: ignore[attr-defined]
    slots: list[list[tuple[int, ...]]] = [[] for _ in range(parts + len(schedule.steps) - 1)]
    for part in range(parts):
        for s, step in enumerate(schedule.steps):
            slots[part + s] += [(x.source, x.target, len(x.chunks)) for x in step]
    assert expanded(unrolled(waves_of(schedule), parts)) == [sorted(slot) for slot in slots]


# ---------------------------------------------------------------- fair shares


@settings(max_examples=150, deadline=None)
@given(arrivals, bandwidths)
def test_flows_in_arrays_equal_full_recomputation_in_exact_arithmetic(
    flows: list[Arrival], bandwidth: list[float]
) -> None:
    """Re-rating only what shares links gives the ends of recomputing all at every event."""
    ends, _ = brute_force(flows, bandwidth)
    assert array_ends(flows, bandwidth) == pytest.approx(ends, rel=1e-9)


def array_ends(arrivals: Sequence[Arrival], bandwidth: Sequence[float]) -> list[float]:
    """Return the end of every flow on the network of arrays; those of a moment go together."""
    environment, ends = simpy.Environment(), {}

    def through(_: object, items: np.ndarray) -> None:
        ends.update(dict.fromkeys(items.tolist(), environment.now))

    network = Flows(environment, bandwidth, through)
    moments: dict[float, list[int]] = {}
    for i, (moment, _, _) in enumerate(arrivals):
        moments.setdefault(moment, []).append(i)
    for moment, items in moments.items():
        loads = [arrivals[i][1] for i in items]
        alone = [
            arrivals[i][2] * max(load / bandwidth[link] for link, load in arrivals[i][1])
            for i in items
        ]
        numbers = np.array([network.pattern(some) for some in loads])
        batch = numbers, np.array(alone), 0, np.array(items)
        environment.timeout(moment).callbacks.append(lambda _, b=batch: network.start(*b))
    environment.run()
    return [ends[i] for i in range(len(arrivals))]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True), min_size=1, max_size=30
    ),
    st.lists(st.sampled_from([1.0, 2.0, 3.0, 7.5]), min_size=8, max_size=8),
)
def test_shares_of_many_flows_equal_those_of_the_matrix_form(
    routes: list[list[int]], bandwidth: list[float]
) -> None:
    """Two progressive fillings, over arrays of crossings and over a matrix, agree."""
    flow = np.repeat(np.arange(len(routes)), [len(route) for route in routes])
    link = np.array([link for route in routes for link in route])
    speeds = fair(Crossings(flow, link, np.ones(len(link))), len(routes), np.array(bandwidth))
    matrix = max_min([[(k, 1.0) for k in r] for r in routes], [1] * len(routes), bandwidth)
    assert speeds.tolist() == pytest.approx(matrix.tolist(), rel=1e-12)


#: A and B share link 0, B and C link 1; D and E share link 3, on their own.
NEIGHBOURS: dict[str, Loads] = {
    "A": ((0, 1.0),), "B": ((0, 1.0), (1, 1.0)), "C": ((1, 1.0),),
    "D": ((3, 1.0),), "E": ((3, 1.0),),
}  # fmt: skip


def test_coflow_re_rates_only_its_neighbourhood(monkeypatch: pytest.MonkeyPatch) -> None:
    """When C comes, A is rated again through B, and D and E, which share nothing with C, are not."""
    rated: list[int] = []

    def spy(
        weights: Sequence[Loads], counts: Sequence[int], bandwidth: Sequence[float]
    ) -> np.ndarray:
        rated.append(sum(counts))
        return max_min(weights, counts, bandwidth)

    monkeypatch.setattr(network_module, "max_min", spy)
    environment = simpy.Environment()
    network: Network[Flow] = Network(environment, [1.0] * 4, lambda _: None)
    for name in "ABDE":
        network.start(Flow(network.pattern(NEIGHBOURS[name]), 10.0))
    late = Flow(network.pattern(NEIGHBOURS["C"]), 1.0)
    environment.timeout(4.0).callbacks.append(lambda _: network.start(late))
    environment.run(until=5)
    assert sorted(rated) == [2, 2, 3]  # A with B, D with E; then A, B and C


def test_flow_in_arrays_re_rates_only_its_neighbourhood(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same, where those that come in one moment are rated together."""
    rated: list[int] = []

    def spy(crossings: Crossings, flows: int, bandwidth: np.ndarray) -> np.ndarray:
        rated.append(flows)
        return fair(crossings, flows, bandwidth)

    monkeypatch.setattr(flows_module, "fair", spy)
    environment = simpy.Environment()
    network = Flows(environment, [1.0] * 4, lambda *_: None)

    def start(names: str, alone: float) -> None:
        numbers = np.array([network.pattern(NEIGHBOURS[name]) for name in names])
        network.start(numbers, np.full(len(names), alone), 0, np.arange(len(names)))

    start("ABDE", 10.0)
    environment.timeout(4.0).callbacks.append(lambda _: start("C", 1.0))
    environment.run(until=5)
    assert rated == [4, 3]


def test_flows_that_share_no_link_are_not_rated_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand sends on their own links need no shares worked out."""

    def never(*_: object) -> np.ndarray:
        raise AssertionError("shares were worked out")

    monkeypatch.setattr(flows_module, "fair", never)
    time = play_alone(Message("all_reduce", 8000), range(8), TOPOLOGIES["switch-8"], "ring", STEPS)
    assert time == pytest.approx(14 * (1e-6 + 1000 / 50e9))


# ---------------------------------------------------------------- steps = coflow


def in_step(played: Sequence[Wave], ranks: tuple[int, ...], topology: Topology) -> list[float]:
    """Return the seconds per chunk that every step lasts; NaN where its sends differ.

    Sends of a step last equally long when they have one latency and one size, and each crosses a
    link that no other link of the step takes longer than.
    """
    lasts = []
    for wave in played:
        pairs = [(ranks[a], ranks[b]) for a, b in zip(*map(np.ndarray.tolist, wave[:2]))]
        seconds: Counter[int] = Counter()
        for pair, chunks in zip(pairs, wave.chunks.tolist(), strict=True):
            for link in topology.route(*pair):
                seconds[link] += chunks / topology.links[link].bandwidth
        busiest = max(seconds.values())
        crossed = (max(seconds[link] for link in topology.route(*pair)) for pair in pairs)
        latencies = [topology.latency(*pair) for pair in pairs]
        alike = (
            all(math.isclose(longest, busiest) for longest in crossed)
            and all(math.isclose(latency, latencies[0]) for latency in latencies)
            and len(set(wave.chunks.tolist())) == 1
        )
        lasts += [busiest if alike else math.nan] * wave.times
    return lasts


def must_agree(plan: Plan, ranks: tuple[int, ...], topology: Topology) -> bool:
    """Return whether the condition of docs/network.md holds."""
    sends = plan.sends
    assert sends is not None
    waves = waves_of(sends) if isinstance(sends, Schedule) else sends
    lasts = in_step(waves.waves, ranks, topology)
    whole: Counter[int] = Counter()
    for wave in waves.waves:
        for a, b, chunks in zip(*map(np.ndarray.tolist, wave[:3]), strict=True):
            for link in topology.route(ranks[a], ranks[b]):
                whole[link] += chunks * wave.times / topology.links[link].bandwidth
    busiest = max(whole.values(), default=0.0)
    if waves.pipelined:
        slots = in_step(unrolled(waves, 3), ranks, topology)
        latencies = {topology.latency(ranks[int(w.source[0])], ranks[int(w.target[0])])
                     for w in waves.waves}  # fmt: skip
        return all(math.isclose(x, busiest) for x in [*lasts, *slots]) and len(latencies) == 1
    if waves.serial:
        return not any(map(math.isnan, lasts))
    return math.isclose(sum(lasts), busiest)


def suitable_size(plan: Plan, topology: Topology) -> int:
    """Return a message for which the best number of parts is whole (5), or any other message."""
    if not plan.stages or not plan.step_latency:
        return 10**7
    pace = plan.slowest(topology)
    return round(25 * plan.step_latency / plan.stages / pace)


def cases() -> Iterator[tuple[str, str, CollectiveKind, int]]:
    """Yield every algorithm, topology, kind and root that is tried."""
    for algorithm in COLLECTIVES.names():
        for on, topology in TOPOLOGIES.items():
            for kind in COLLECTIVE_KINDS:
                ends = {0, len(topology.devices) - 1} if kind in ("broadcast", "reduce") else {0}
                yield from ((algorithm, on, kind, root) for root in sorted(ends))


@pytest.mark.parametrize("algorithm", COLLECTIVES.names())
def test_sends_last_as_long_as_the_coflow_where_nothing_contends(algorithm: str) -> None:
    """Wherever the condition of docs/network.md holds, to 1e-9, and for small messages too."""
    agreed: Counter[str] = Counter()
    for name, on, kind, root in cases():
        topology = TOPOLOGIES[on]
        ranks = members(kind, topology)
        if name != algorithm:
            continue
        plan = COLLECTIVES.get(name)(kind, ranks, topology, root)
        if plan is None or plan.sends is None or not must_agree(plan, ranks, topology):
            continue
        for size in (suitable_size(plan, topology), 1):
            sent = message(kind, size, root)
            one = play_alone(sent, ranks, topology, algorithm)
            many = play_alone(sent, ranks, topology, algorithm, STEPS)
            # A message has a whole number of bytes: the best number of parts is off by its rounding
            assert many == pytest.approx(one, rel=1e-9), (on, kind, root, size)
        agreed[kind] += 1
    if algorithm in ("ring", "direct", "gloo"):
        assert sorted(agreed) == sorted(COLLECTIVE_KINDS)
        assert sum(agreed.values()) > 60
