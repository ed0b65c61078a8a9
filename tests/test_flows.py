"""Flows by the thousand: fair shares against exact arithmetic, and links first in, first out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import toy
from tests.test_collectives import make
from tests.test_network import Arrival, arrivals, bandwidths, brute_force, exact_rates
from tests.toy import Toy, shared
from tspsim.collectives.choose import Chooser
from tspsim.engine.alone import play_alone
from tspsim.engine.calendar import Clock
from tspsim.engine.network import coflow as network_module
from tspsim.engine.network import flows as flows_module
from tspsim.engine.network.coflow import Flow, Loads, Network
from tspsim.engine.network.fifo import FifoNetwork
from tspsim.engine.network.filling import Crossings, crossings, fair
from tspsim.engine.network.flows import Flows
from tspsim.engine.network.model import NetworkModel
from tspsim.engine.simulate import Setup, simulate
from tspsim.mesh import Mesh
from tspsim.program.types import Message

# ---------------- fair shares


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
    environment, ends = Clock(), {}

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


def test_flow_that_leaves_frees_its_links_also_while_another_comes_elsewhere() -> None:
    """A and B share link 0 until 2 s; in that moment C comes to link 1, and B has link 0 alone."""
    flows: list[Arrival] = [
        (0.0, ((0, 1.0),), 1.0), (0.0, ((0, 1.0),), 3.0), (2.0, ((1, 1.0),), 1.0),
    ]  # fmt: skip
    assert array_ends(flows, [1.0, 1.0]) == [2.0, 4.0, 3.0]


def test_no_flow_ends_twice_where_an_earlier_one_was_expected() -> None:
    """At first A was to end at 6 s. It ended at 4 s, and D, in its place, ends at 6 s: once."""
    ended: list[int] = []
    environment = Clock()
    network = Flows(environment, [1.0], lambda _, items: ended.extend(items.tolist()))
    link = np.array([network.pattern(((0, 1.0),))])
    for moment, size, item in ((0.0, 3.0, 0), (0.0, 1.0, 1), (5.0, 1.0, 2)):
        batch = link, np.array([size]), 0, np.array([item])
        environment.timeout(moment).callbacks.append(lambda _, b=batch: network.start(*b))
    environment.run()
    assert (ended, environment.now) == ([1, 0, 2], 6.0)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.lists(st.integers(0, 7), min_size=1, max_size=4, unique=True), min_size=1, max_size=30
    ),
    st.lists(st.sampled_from([1.0, 2.0, 3.0, 7.5]), min_size=8, max_size=8),
)
def test_shares_of_many_flows_equal_water_filling_in_exact_arithmetic(
    routes: list[list[int]], bandwidth: list[float]
) -> None:
    """Progressive filling over arrays of crossings makes no error that adds up."""
    loads = [tuple((link, 1.0) for link in route) for route in routes]
    speeds = fair(crossings(loads, [1] * len(routes)), len(routes), np.array(bandwidth))
    exact = exact_rates(loads, [Fraction(limit) for limit in bandwidth])
    assert speeds.tolist() == pytest.approx([float(rate) for rate in exact], rel=1e-12)


#: A and B share link 0, B and C link 1; D and E share link 3, on their own.
NEIGHBOURS: dict[str, Loads] = {
    "A": ((0, 1.0),), "B": ((0, 1.0), (1, 1.0)), "C": ((1, 1.0),),
    "D": ((3, 1.0),), "E": ((3, 1.0),),
}  # fmt: skip


def test_coflow_re_rates_only_its_neighbourhood(monkeypatch: pytest.MonkeyPatch) -> None:
    """When C comes, A is rated again through B; D and E, which share nothing with C, are not."""
    rated: list[int] = []

    def spy(weights: Sequence[Loads], counts: Sequence[int]) -> Crossings:
        rated.append(sum(counts))
        return crossings(weights, counts)

    monkeypatch.setattr(network_module, "crossings", spy)
    environment = Clock()
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
    environment = Clock()
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
    time = play_alone(
        Message("all_reduce", 8000), range(8), make("switch", 8), "ring", NetworkModel("steps")
    )
    assert time == pytest.approx(14 * (1e-6 + 1000 / 50e9))


# ---------------- first in, first out


def fifo_spans(
    arrivals: Sequence[Arrival], bandwidth: Sequence[float]
) -> list[tuple[float, float]]:
    """Return when every flow was served, on links that serve in order of arrival."""
    environment = Clock()
    spans: dict[Flow, tuple[float, float]] = {}

    def through(flows: list[Flow]) -> None:
        spans.update((flow, (flow.start, environment.now)) for flow in flows)

    network: FifoNetwork[Flow] = FifoNetwork(environment, through)
    flows = []
    for moment, loads, size in arrivals:
        alone = size * max(load / bandwidth[link] for link, load in loads)
        flow = Flow(network.pattern(loads), alone)
        flows.append(flow)
        environment.timeout(moment).callbacks.append(lambda _, f=flow: network.start(f))
    environment.run()
    return [spans[flow] for flow in flows]


def test_fifo_link_serves_whole_flows_one_after_another() -> None:
    """1, 2 and 3 bytes that come together end at 1, 3 and 6 s; fair shares end at 3, 5 and 6 s."""
    together = [(0.0, ((0, 1.0),), size) for size in (1.0, 2.0, 3.0)]
    assert fifo_spans(together, [1.0]) == [(0.0, 1.0), (1.0, 3.0), (3.0, 6.0)]


def test_flow_that_waits_for_one_link_blocks_its_others() -> None:
    """B waits for A on link 0, and keeps C waiting on link 1, where nothing moves meanwhile."""
    line: list[Arrival] = [
        (0.0, ((0, 1.0),), 4.0),  # A
        (1.0, ((0, 1.0), (1, 1.0)), 2.0),  # B
        (2.0, ((1, 1.0),), 1.0),  # C
        (2.0, ((2, 1.0),), 1.0),  # D, elsewhere
    ]
    assert fifo_spans(line, [1.0] * 3) == [(0.0, 4.0), (4.0, 6.0), (6.0, 7.0), (2.0, 3.0)]


@settings(max_examples=100, deadline=None)
@given(arrivals, bandwidths)
def test_fifo_is_the_order_of_arrival_on_every_link(
    flows: list[Arrival], bandwidth: list[float]
) -> None:
    """Each flow starts when it has come and all before it on any of its links are through."""
    order = sorted(range(len(flows)), key=lambda i: flows[i][0])
    free: Counter[int] = Counter()
    wanted: dict[int, tuple[float, float]] = {}
    for i in order:
        moment, loads, size = flows[i]
        start = max(moment, *(free[link] for link, _ in loads))
        end = start + size * max(load / bandwidth[link] for link, load in loads)
        free.update({link: end - free[link] for link, _ in loads})
        wanted[i] = start, end
    got = fifo_spans(flows, bandwidth)
    assert np.array(got) == pytest.approx(np.array([wanted[i] for i in range(len(flows))]))


@pytest.mark.parametrize("detail", ["coflow", "steps"])
def test_fifo_and_fair_sharing_agree_where_nothing_is_shared(detail: str) -> None:
    """A ring's sends have their links to themselves."""
    sent, topology = Message("all_reduce", 10**6), make("switch", 8)
    times = [
        play_alone(sent, range(8), topology, "ring", NetworkModel(detail, sharing))  # type: ignore[arg-type]
        for sharing in ("fair", "fifo")
    ]
    assert times[0] == pytest.approx(times[1], rel=1e-12)


@pytest.mark.parametrize("detail", ["coflow", "steps"])
def test_second_broadcast_waits_for_the_first_on_a_fifo_link(detail: str) -> None:
    """Two communicators, one link: 2 s and 3 s of bytes end at 2 s and 5 s, not at 4 s and 5 s."""
    program = Toy()
    program.communicate("broadcast", 2, "a", root=0)
    program.communicate("broadcast", 3, "b", root=0)
    for sharing, ends in (("fair", [4.0, 5.0]), ("fifo", [2.0, 5.0])):
        network = NetworkModel(detail, sharing)  # type: ignore[arg-type]
        mesh = Mesh((("tsp", 2),))
        played = simulate(
            Setup(shared(program, 2), mesh, toy.full(2), "bf16", network),
            Chooser(toy.full(2), "ring"),
        )
        assert [float(end) for end in played.end[1]] == ends
    assert [(t.start, t.end) for t in played.transfers] == [(0.0, 2.0), (2.0, 5.0)]
