"""Protocols of a profile: how a library's collectives differ from what the links state."""

from __future__ import annotations

from typing import Any

import pytest

import tspsim
from tspsim.collectives.choose import choose
from tspsim.files.errors import ScenarioError, UnknownNameError
from tspsim.topology.graph import Topology
from tspsim.topology.load import load, parse_profile

GB = 1e9

#: Cheap to start, and fast once started; they are equal at 0.5 ms of the link's own time.
PROTOCOLS = [
    {"latency": "10 us", "efficiency": 0.5},
    {"latency": "510 us", "efficiency": 1.0},
]


def switch_document(ranks: int) -> dict[str, Any]:
    """Return devices around a switch, as written: 1 GB/s and 2 us from device to device."""
    device = {
        "name": "x",
        "flop_rate": {"bf16": "1 TFLOP/s"},
        "memory_bandwidth": "1 TB/s",
        "memory": "1 GiB",
    }
    link = {"bandwidth": "1 GB/s", "latency": "2 us"}
    return {"kind": "switch", "ranks": ranks, "device": device, "link": link}


def switch(ranks: int, protocols: list[dict[str, Any]]) -> Topology:
    """Return such devices with a profile that has some protocols."""
    profile = parse_profile({"name": "p", "protocols": protocols})
    return load(switch_document(ranks), profile=profile)


@pytest.mark.parametrize(("size", "time"), [(1e5, 12e-6 + 2e-4), (1e6, 512e-6 + 1e-3)])
def test_the_fastest_protocol_for_the_size_holds(size: float, time: float) -> None:
    """A hop takes the latency of link and protocol, and the bytes at the achieved rate."""
    topology = switch(2, PROTOCOLS)
    plan = choose("shift", size, (0, 1), topology)
    assert plan.time(size, topology) == pytest.approx(time)


def test_a_protocol_counts_once_per_call_whatever_the_steps() -> None:
    """A ring's links add their latency at every step, the protocol at none but the first."""
    bare, topology = switch(4, []), switch(4, [{"latency": "10 us", "efficiency": 1.0}])
    ranks = (0, 1, 2, 3)
    times = [
        choose("all_gather", 1e3, ranks, where, algorithm="ring").time(1e3, where)
        for where in (bare, topology)
    ]
    assert times[1] - times[0] == pytest.approx(10e-6)


def test_a_protocol_of_one_kind_replaces_the_others_for_it() -> None:
    """Hops may travel in a way of their own; everything else keeps to the rest."""
    own = {"latency": "0 s", "efficiency": 0.25, "collective": "shift"}
    topology = switch(2, [{"efficiency": 0.5}, own])
    shift, gather = (choose(kind, 1e9, (0, 1), topology) for kind in ("shift", "all_gather"))
    assert shift.time(1e9, topology) == pytest.approx(4.0, rel=1e-5)
    assert gather.time(1e9, topology) == pytest.approx(1.0, rel=1e-5)


def test_a_member_alone_waits_for_no_protocol() -> None:
    """A communicator of one sends nothing."""
    topology = switch(2, PROTOCOLS)
    assert choose("all_reduce", 1e6, (0,), topology).time(1e6, topology) == 0.0


def test_the_network_between_nodes_is_as_its_links_state() -> None:
    """A profile's protocols were measured inside a node."""
    node = {
        "kind": "ring",
        "ranks": 2,
        "link": {"bandwidth": "1 GB/s", "latency": "0 s"},
        "device": {
            "name": "x",
            "flop_rate": {"bf16": "1 TFLOP/s"},
            "memory_bandwidth": "1 TB/s",
            "memory": "1 GiB",
        },
    }
    nic = {"bandwidth": "1 GB/s", "latency": "0 s"}
    document = {"kind": "nodes", "nodes": 2, "node": node, "nic": nic}
    half = parse_profile({"name": "p", "protocols": [{"efficiency": 0.5}]})
    topology = load(document, profile=half)
    inside, across = (choose("shift", 1e9, pair, topology) for pair in ((0, 1), (0, 2)))
    assert inside.time(1e9, topology) == pytest.approx(2.0)
    assert across.time(1e9, topology) == pytest.approx(1.0)


def test_a_protocol_may_be_for_one_algorithm() -> None:
    """Others keep to the rest."""
    own = {"efficiency": 0.25, "algorithm": "ring"}
    topology = switch(4, [{"efficiency": 0.5}, own])
    ring, direct = (
        choose("all_gather", 1e9, (0, 1, 2, 3), topology, algorithm=name)
        for name in ("ring", "direct")
    )
    assert ring.time(1e9, topology) == pytest.approx(3.0, rel=1e-4)
    assert direct.time(1e9, topology) == pytest.approx(1.5, rel=1e-4)


def test_a_protocol_of_the_network_is_for_what_leaves_a_node() -> None:
    """It was measured over several nodes, and says nothing about the inside of one."""
    node = switch_document(2)
    nic = {"bandwidth": "1 GB/s", "latency": "0 s"}
    document = {"kind": "nodes", "nodes": 2, "node": node, "nic": nic}
    ways = [{"latency": "3 us", "efficiency": 0.5, "network": True}]
    topology = load(document, profile=parse_profile({"name": "p", "protocols": ways}))
    inside, across = (choose("shift", 1e9, pair, topology) for pair in ((0, 1), (0, 2)))
    assert inside.time(1e9, topology) == pytest.approx(1.0 + 2e-6)
    assert across.time(1e9, topology) == pytest.approx(2.0 + 3e-6)


def test_a_protocol_is_taken_from_its_first_message_on_faster_or_not() -> None:
    """A library that was seen to switch at a size is simulated to do so."""
    later = {"latency": "1 ms", "efficiency": 0.5, "algorithm": "ring", "first": "1 MB"}
    topology = switch(4, [{"efficiency": 0.5}, later])
    plans = [choose("all_gather", size, (0, 1, 2, 3), topology) for size in (1e6 - 1, 1e6)]
    assert [plan.algorithm for plan in plans] == ["direct", "ring"]
    assert plans[1].time(1e6, topology) > plans[0].time(1e6, topology) + 1e-3


def scenario(protocols: list[dict[str, Any]]) -> dict[str, Any]:
    """Return a forward step of TP on two devices whose time is all communication."""
    return {
        "name": "protocols",
        "model": {"hidden": 64, "layers": 1, "heads": 4, "kv_heads": 4, "ffn": 128, "vocab": 0},
        "workload": {"sequence": 4096, "phase": "forward"},
        "strategy": {"kind": "tp", "degree": 2},
        "timing": {"profile": {"name": "p", "protocols": protocols}},
        "topology": {
            "kind": "full",
            "ranks": 2,
            "link": {"bandwidth": "1 MB/s", "latency": "0 s"},
            "device": {
                "name": "x",
                "flop_rate": {"bf16": "1000 TFLOP/s"},
                "memory_bandwidth": "1000 TB/s",
                "memory": "1 GiB",
            },
        },
    }


def test_a_step_takes_longer_by_what_the_protocol_costs() -> None:
    """The engine plays what the plan says: two all-reduces, at half the rate, 1 s later each."""
    times = {
        name: tspsim.run(scenario(protocols)).summary.step_time
        for name, protocols in {
            "stated": [],
            "half": [{"efficiency": 0.5}],
            "late": [{"latency": "1 s"}],
        }.items()
    }
    assert times["half"] == pytest.approx(2 * times["stated"], rel=1e-4)
    assert times["late"] == pytest.approx(2 + times["stated"], rel=1e-6)


@pytest.mark.parametrize(
    ("protocol", "told"),
    [
        ({"efficiency": 0}, "at least 1e-09"),
        ({"efficiency": 1.5}, "at most 1"),
        ({"latency": "-1 us"}, "latency"),
        ({"collective": "shft"}, "shift"),
        ({"algorithm": "rnig"}, "found 'rnig' (did you mean 'ring'?)"),
        ({"first": "1"}, "first"),
        ({"fewest": -1}, "fewest"),
        ({"per_member": "-1 us"}, "per_member"),
        ({"own_part": -0.5}, "own_part"),
        ({"latensy": "1 us"}, "did you mean 'latency'"),
    ],
)
def test_a_protocol_that_cannot_be_is_refused(protocol: dict[str, Any], told: str) -> None:
    """Wrong keys and values are told with their place."""
    with pytest.raises(ScenarioError, match=r"timing\.profile\.protocols") as refused:
        tspsim.run(scenario([protocol]))
    assert told in str(refused.value)


def test_an_unknown_algorithm_in_the_profile_of_a_device_is_told_at_its_place() -> None:
    """Protocols and the algorithms that a library was seen to use are held against all names."""
    own = {"name": "own", "protocols": [{"algorithm": "rnig"}], "collectives": {"shift": "drect"}}
    asked = scenario([])
    asked["topology"]["device"] = {"extends": "h100-sxm", "profile": own}
    del asked["timing"]
    with pytest.raises(ScenarioError) as refused:
        tspsim.run(asked)
    place = r"topology.device.profile"
    assert f"{place}.protocols.0.algorithm: found 'rnig' (did you mean 'ring'?)" in str(
        refused.value
    )
    assert f"{place}.collectives.shift: found 'drect' (did you mean 'direct'?)" in str(
        refused.value
    )


def test_a_topology_without_a_scenario_has_its_algorithms_checked_too() -> None:
    """A call on a fabric whose profile names no algorithm that there is does not begin."""
    with pytest.raises(UnknownNameError, match="rnig"):
        choose("shift", 1e3, (0, 1), switch(2, [{"algorithm": "rnig"}]))


def test_what_was_resolved_reads_back_the_same() -> None:
    """The resolved scenario of a result holds the protocols and runs to the same time."""
    first = tspsim.run(scenario(PROTOCOLS))
    again = tspsim.run(dict(first.scenario.document))
    assert again.timeline.step_time == first.timeline.step_time
