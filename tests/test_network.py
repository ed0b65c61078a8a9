"""Max-min fair sharing: by hand, and against a fluid simulator that recomputes everything."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tspsim.engine.calendar import Clock
from tspsim.engine.network.coflow import Flow, Loads, Network
from tspsim.engine.network.filling import crossings, fair

Arrival = tuple[float, Loads, float]
"""When a flow starts, its loads in bytes per byte of message, and its message in bytes."""


def shares(
    weights: Sequence[Sequence[tuple[int, float]]], counts: Sequence[int], bandwidth: list[float]
) -> list[float]:
    """Return the fair speed of one flow of every pattern."""
    return fair(crossings(weights, counts), len(weights), np.array(bandwidth)).tolist()


def test_two_flows_on_one_link_get_half_each() -> None:
    """The simplest fair share."""
    assert shares([[(0, 1.0)]], [2], [10.0]) == [5.0]


def test_flow_held_up_elsewhere_leaves_its_share_to_others() -> None:
    """A: links 0 and 1, B: link 0, C: link 1 with bandwidths 10 and 4: A and C get 2, B gets 8."""
    speeds = shares([[(0, 1.0), (1, 1.0)], [(0, 1.0)], [(1, 1.0)]], [1, 1, 1], [10.0, 4.0])
    assert speeds == [2.0, 8.0, 2.0]


def test_weighted_coflow_takes_more_of_a_link_at_the_same_speed() -> None:
    """A coflow that loads link 0 three times as much as its bottleneck takes three shares there."""
    speeds = shares([[(0, 3.0), (1, 1.0)], [(0, 1.0)]], [1, 1], [8.0, 100.0])
    assert speeds == [2.0, 2.0]


def test_flows_on_other_links_are_not_slowed() -> None:
    """What shares nothing gets everything."""
    assert shares([[(0, 1.0)], [(1, 1.0)]], [1, 1], [3.0, 5.0]) == [3.0, 5.0]


def played(arrivals: Sequence[Arrival], bandwidth: Sequence[float]) -> list[tuple[float, float]]:
    """Return the start and end of every flow on the engine's network."""
    environment = Clock()
    spans: dict[Flow, tuple[float, float]] = {}

    def through(flows: list[Flow]) -> None:
        for flow in flows:
            spans[flow] = (flow.start, environment.now)

    network: Network[Flow] = Network(environment, bandwidth, through)
    flows = []
    for moment, loads, size in arrivals:
        alone = size * max(load / bandwidth[link] for link, load in loads)
        flow = Flow(network.pattern(loads), alone)
        flows.append(flow)
        event = environment.timeout(moment)
        event.callbacks.append(lambda _, flow=flow: network.start(flow))
    environment.run()
    return [spans[flow] for flow in flows]


def test_late_flow_slows_the_first_one_from_then_on() -> None:
    """10 bytes alone until 4 s, then shared: 6 bytes at half speed end at 16 s, the other after."""
    spans = played([(0.0, ((0, 1.0),), 10.0), (4.0, ((0, 1.0),), 10.0)], [1.0])
    assert spans == [(0.0, 16.0), (4.0, 20.0)]


def test_three_flows_end_one_after_another() -> None:
    """1, 2 and 3 bytes on one link: thirds until 3 s, halves until 5 s, then alone until 6 s."""
    arrivals = [(0.0, ((0, 1.0),), size) for size in (1.0, 2.0, 3.0)]
    assert [end for _, end in played(arrivals, [1.0])] == pytest.approx([3.0, 5.0, 6.0])


def test_flow_is_slowed_through_a_third_one() -> None:
    """B joining link 1 holds A up, which frees link 0 for C: B and C share nothing."""
    chain: list[Arrival] = [
        (0.0, ((0, 1.0), (1, 1.0)), 20.0),  # A
        (0.0, ((0, 1.0),), 35.0),  # C
        (10.0, ((1, 1.0),), 5.0),  # B
    ]
    # Until 10 s A and C have 1 byte/s each of link 0. Then A and B have 0.5 each of link 1 and C
    # 1.5 of link 0, until B is through at 20 s. A and C have 1 again until A ends at 25 s, and C
    # does its last 5 bytes with 2.
    spans = played(chain, [2.0, 1.0])
    assert [end for _, end in spans] == [25.0, 27.5, 20.0]


LINKS = 4


def exact_rates(flows: Sequence[Loads], bandwidth: Sequence[Fraction]) -> list[Fraction]:
    """Return bytes/s of message of every flow by water filling in exact arithmetic."""
    speed: dict[int, Fraction] = {}
    unit = [{link: Fraction(load) for link, load in loads} for loads in flows]
    bottleneck = [max(u, key=lambda link: u[link] / bandwidth[link]) for u in unit]
    weight = [{k: v / u[b] for k, v in u.items()} for u, b in zip(unit, bottleneck, strict=True)]
    while len(speed) < len(flows):
        levels = {}
        for link in range(len(bandwidth)):
            free = sum((w.get(link, Fraction(0)) for i, w in enumerate(weight) if i not in speed))
            used = sum((weight[i].get(link, Fraction(0)) * s for i, s in speed.items()))
            if free:
                levels[link] = (bandwidth[link] - used) / free
        lowest = min(levels.values())
        full = {link for link, level in levels.items() if level == lowest}
        for i, w in enumerate(weight):
            if i not in speed and full & w.keys():
                speed[i] = lowest
    return [speed[i] / unit[i][bottleneck[i]] for i in range(len(flows))]


def brute_force(
    arrivals: Sequence[Arrival], bandwidth: Sequence[float]
) -> tuple[list[float], list[Fraction]]:
    """Return the end of every flow and the bytes on every link, recomputing all at every event."""
    limits = [Fraction(b) for b in bandwidth]
    left = [Fraction(size) for _, _, size in arrivals]
    ends: dict[int, Fraction] = {}
    carried = [Fraction(0)] * len(bandwidth)
    now = Fraction(0)
    while len(ends) < len(arrivals):
        here = [i for i, a in enumerate(arrivals) if a[0] <= now and i not in ends]
        rates = dict(zip(here, exact_rates([arrivals[i][1] for i in here], limits), strict=True))
        coming = [Fraction(a[0]) for a in arrivals if a[0] > now]
        moment = min([*coming, *(now + left[i] / rates[i] for i in here)])
        for i, rate in rates.items():
            left[i] -= rate * (moment - now)
            for link, load in arrivals[i][1]:
                carried[link] += rate * (moment - now) * Fraction(load)
            if not left[i]:
                ends[i] = moment
        now = moment
    return [float(ends[i]) for i in range(len(arrivals))], carried


loads = st.dictionaries(
    st.integers(0, LINKS - 1), st.sampled_from([0.125, 0.5, 1.0, 3.0]), min_size=1
).map(lambda d: tuple(sorted(d.items())))
moments = st.integers(0, 12).map(float)
sizes = st.sampled_from([0.5, 1.0, 4.0, 7.0])
arrivals = st.lists(st.tuples(moments, loads, sizes), min_size=1, max_size=9)
bandwidths = st.lists(st.sampled_from([1.0, 2.0, 5.0]), min_size=LINKS, max_size=LINKS)


@settings(max_examples=150, deadline=None)
@given(arrivals, bandwidths)
def test_incremental_rates_equal_full_recomputation(
    flows: list[Arrival], bandwidth: list[float]
) -> None:
    """Re-rating only who shares links gives the ends of recomputing everything exactly."""
    ends, carried = brute_force(flows, bandwidth)
    assert [end for _, end in played(flows, bandwidth)] == pytest.approx(ends, rel=1e-9)
    for link, bytes_ in enumerate(carried):  # rate integrated over time: nothing lost or added
        assert bytes_ == sum(
            Fraction(size) * Fraction(dict(f).get(link, 0)) for _, f, size in flows
        )


@settings(max_examples=100, deadline=None)
@given(st.lists(loads, min_size=1, max_size=6), bandwidths)
def test_no_link_is_overfull_and_every_flow_has_a_full_one(
    flows: list[Loads], bandwidth: list[float]
) -> None:
    """The two conditions that make an allocation max-min fair with equal weights."""
    speeds = shares(flows, [1] * len(flows), bandwidth)
    used = [
        sum(speed * dict(f).get(link, 0.0) for speed, f in zip(speeds, flows, strict=True))
        for link in range(LINKS)
    ]
    assert all(u <= b * (1 + 1e-9) for u, b in zip(used, bandwidth, strict=True))
    for speed, flow in zip(speeds, flows, strict=True):
        full = [link for link, _ in flow if used[link] >= bandwidth[link] * (1 - 1e-9)]
        on = {
            link: [s for s, f in zip(speeds, flows, strict=True) if link in dict(f)]
            for link in full
        }
        assert any(speed >= max(others) * (1 - 1e-9) for others in on.values())
