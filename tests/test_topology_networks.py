"""Networks between nodes: wires, bandwidths, and routes that are the same for all nodes."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import small_result
from tests.test_topology import FULL4, LINK, SWITCH4, hops, make, nodes
from tspsim.engine.timeline import Transfer
from tspsim.files.shipped import names
from tspsim.output.fabric_layout import drawing_of
from tspsim.output.plots import topology as plots_topology
from tspsim.output.plots.links import uses
from tspsim.topology.graph import Topology
from tspsim.topology.load import load, load_file

RING4 = {"kind": "ring", "ranks": 4, "link": LINK}
INSIDE = {
    "full": FULL4, "switch": SWITCH4, "ring": RING4,
    "torus": {"kind": "torus", "shape": [2, 2], "link": LINK},
    "custom": {
        "kind": "custom", "devices": [make("full")["device"]] * 4,
        "links": [{**LINK, "from": f"d{i}", "to": f"d{i + 1}"} for i in range(3)],
    },
}  # fmt: skip
FABRICS: dict[str, dict[str, Any]] = {
    "rails": {}, "rail_optimised": {"oversubscription": 2.0},
    "fat_tree": {"nodes_per_leaf": 2}, "dragonfly": {"groups": 3},
}  # fmt: skip


def cluster(fabric: str, node: str = "full", **keys: Any) -> Topology:
    """Return six nodes of four devices."""
    document = nodes(fabric, INSIDE[node], nodes=6, **FABRICS[fabric], **keys)
    if node == "custom":
        del document["device"]
    return load(document)


def moved(route: list[str], shift: int, part: int = 1) -> list[str]:
    """Return a route with every vertex moved on by `shift` nodes of six (or groups of `part`)."""

    def name(found: re.Match[str]) -> str:
        what, number = found[1], int(found[2])
        step = {"d": 4, "nic": 4, "node": 1, "leaf": 0.5, "router": 1}.get(what, 0) * shift * part
        every = {"d": 24, "nic": 24, "node": 6, "leaf": 3, "router": 6}.get(what, 10**9)
        return f"{what}{int(number + step) % every}"

    return [re.sub(r"\b([a-z]+)(\d+)", name, hop) for hop in route]


@pytest.mark.parametrize("node", INSIDE)
@pytest.mark.parametrize("fabric", FABRICS)
def test_routes_are_the_same_whichever_nodes_they_join(fabric: str, node: str) -> None:
    """Moved on by a node (a leaf's nodes, a group), every route is the route of those devices."""
    topology = cluster(fabric, node)
    part = {"fat_tree": 2, "dragonfly": 2}.get(fabric, 1)
    for a in range(24):
        for b in range(24):
            for shift in range(1, 6 // part):
                c, d = ((i + 4 * shift * part) % 24 for i in (a, b))
                assert hops(topology, c, d) == moved(hops(topology, a, b), shift, part)


@pytest.mark.parametrize("fabric", ["rails", "rail_optimised"])
def test_pairs_of_nodes_on_rails_are_all_alike(fabric: str) -> None:
    """The route from place i of node a to place j of node b depends on i and j alone."""
    topology = cluster(fabric)
    for i in range(4):
        for j in range(4):
            seen = set()
            for a in range(6):
                for b in range(6):
                    if a != b:
                        places = {f"d{4 * n + k}": f"{w}.{k}" for n, w in ((a, "a"), (b, "b"))
                                  for k in range(4)}  # fmt: skip
                        route = " ".join(hops(topology, 4 * a + i, 4 * b + j))
                        seen.add(re.sub(r"\b(?:nic|d)\d+", lambda found, places=places: places[
                            found[0].replace("nic", "d")], route))  # fmt: skip
            assert len(seen) == 1


@pytest.mark.parametrize("node", INSIDE)
@pytest.mark.parametrize("fabric", FABRICS)
def test_every_route_is_there_and_joined(fabric: str, node: str) -> None:
    """Routes follow links end to end; the stated ones need no search."""
    topology = cluster(fabric, node)
    assert topology.router is not None
    for a in range(24):
        for b in range(24):
            route = [topology.links[link] for link in topology.route(a, b)]
            ends = [f"d{a}", *(link.target for link in route)]
            assert [link.source for link in route] == ends[:-1]
            assert ends[-1] == f"d{b}"
            assert len(set(ends)) == len(ends)
            if a != b:
                assert tuple(ends) == topology.router(a, b)


def test_traffic_between_rails_takes_the_spine_where_there_is_one() -> None:
    """No device passes it on; without a spine the sender's node is crossed."""
    assert hops(cluster("rail_optimised"), 0, 5) == [
        "d0→nic0", "nic0→rail0", "rail0→spine", "spine→rail1", "rail1→nic5", "nic5→d5",
    ]  # fmt: skip
    assert hops(cluster("rails"), 0, 5) == [
        "d0→d1", "d1→nic1", "nic1→rail1", "rail1→nic5", "nic5→d5",
    ]  # fmt: skip


def test_traffic_inside_a_node_never_leaves_it() -> None:
    """Not even where the NICs of the node share a switch and the ring is longer."""
    for fabric in FABRICS:
        assert hops(cluster(fabric, "ring"), 4, 6) == ["d4→d5", "d5→d6"]


def test_hop_is_the_latency_between_two_switches() -> None:
    """One switch costs the NIC's latency, every further one a hop more."""
    for fabric, near, far in (("rail_optimised", 4, 5), ("fat_tree", 4, 8), ("dragonfly", None, 4)):
        topology = cluster(fabric, hop="1 us")
        assert near is None or topology.latency(0, near) == pytest.approx(8e-6)
        hop = {"rail_optimised": 2e-6, "fat_tree": 2e-6, "dragonfly": 1e-6}[fabric]
        assert topology.latency(0, far) == pytest.approx(8e-6 + hop)


def rate(topology: Topology, name: str) -> float:
    """Return the bandwidth of a link."""
    return next(link.bandwidth for link in topology.links if link.name == name)


def test_uplinks_carry_what_comes_from_below_over_the_oversubscription() -> None:
    """A rail gathers a NIC of every node, a leaf all NICs of its nodes."""
    assert rate(cluster("rail_optimised"), "rail3→spine") == 6 * 25e9 / 2
    assert rate(cluster("fat_tree", oversubscription=4.0), "leaf2→spine") == 2 * 4 * 25e9 / 4


def test_dragonfly_is_balanced() -> None:
    """Local links twice the NICs of a router, global links all NICs of a group; one per pair."""
    topology = load(nodes("dragonfly", FULL4, nodes=12, groups=4, oversubscription=3.0))
    trunks = [k for k in topology.links if k.source.startswith("router") and "router" in k.target]
    group = {k.index: (int(k.source[6:]) // 3, int(k.target[6:]) // 3) for k in trunks}
    local = [k for k in trunks if group[k.index][0] == group[k.index][1]]
    between = [k for k in trunks if k not in local]
    assert len(local) == 4 * 3 * 2
    assert sorted(group[k.index] for k in between) == sorted(
        (a, b) for a in range(4) for b in range(4) if a != b
    )
    assert sum(k.bandwidth for k in local if k.source == "router0") == pytest.approx(2 * 4 * 25e9)
    out = sum(k.bandwidth for k in between if group[k.index][0] == 0)
    assert out == pytest.approx(3 * 4 * 25e9 / 3)
    assert len({k.source for k in between if group[k.index][0] == 0}) == 3  # spread over routers


def test_neighbours_share_a_nic() -> None:
    """Two devices per NIC: both reach it, and together they get its bandwidth."""
    topology = cluster("rails", nics=2)
    assert hops(topology, 0, 5) == ["d0→nic0", "nic0→rail0", "rail0→nic2", "nic2→d5"]
    assert hops(topology, 1, 5) == ["d1→nic0", "nic0→rail0", "rail0→nic2", "nic2→d5"]
    assert hops(topology, 0, 7) == ["d0→d3", "d3→nic1", "nic1→rail1", "rail1→nic3", "nic3→d7"]


def test_lost_link_is_gone_round() -> None:
    """A stated route that has lost a link is replaced by the shortest that is left."""
    topology = cluster("rails")
    gone = next(link.index for link in topology.links if link.name == "d0→nic0")
    links = tuple(link for link in topology.links if link.index != gone)
    links = tuple(replace(link, index=i) for i, link in enumerate(links))
    crippled = replace(topology, links=links)
    assert hops(crippled, 0, 4)[0] == "d0→d1"
    assert hops(crippled, 0, 4)[-1] in {"d5→d4", "nic4→d4"}
    assert hops(crippled, 1, 5) == hops(topology, 1, 5)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=3), st.data())
def test_routes_on_a_torus_depend_on_the_difference_of_places_alone(
    shape: list[int], data: st.DataObject
) -> None:
    """Moved on along any dim, a route goes the same steps."""
    topology = load(make("torus", shape=shape))
    count = len(topology.devices)
    a, b = (data.draw(st.integers(0, count - 1)) for _ in range(2))
    shift = [data.draw(st.integers(0, size - 1)) for size in shape]

    def place(device: int) -> list[int]:
        found = []
        for size in reversed(shape):
            device, at = divmod(device, size)
            found.append(at)
        return found[::-1]

    def steps(source: int, target: int) -> list[list[int]]:
        ends = [
            source,
            *(int(topology.links[i].target[1:]) for i in topology.route(source, target)),
        ]
        return [
            [(y - x) % size for x, y, size in zip(place(p), place(q), shape, strict=True)]
            for p, q in pairwise(ends)
        ]  # fmt: skip

    def moved_on(device: int) -> int:
        number = 0
        for at, by, size in zip(place(device), shift, shape, strict=True):
            number = number * size + (at + by) % size
        return number

    assert steps(a, b) == steps(moved_on(a), moved_on(b))


def test_reducing_switches_are_named_in_every_node() -> None:
    """A switch says that it adds up; in a cluster there is one per node."""
    adds_up = {**SWITCH4, "reducing": True}
    assert load({**make("switch", ranks=4), "reducing": True}).reducing == {"switch"}
    assert load(make("switch", ranks=4)).reducing == set()
    topology = load(nodes("rails", adds_up, nodes=3))
    assert topology.reducing == {f"node{i}.switch" for i in range(3)}


def test_paper_s_machine_is_1024_devices_on_rails() -> None:
    """128 nodes of eight MI300X, a 400 Gbit/s NIC each, no spine (arXiv 2604.26294)."""
    topology = load_file("mi300x-128-nodes-rails")
    assert (len(topology.devices), topology.node(1023)) == (1024, 127)
    assert {link.bandwidth for link in topology.links if link.network} == {50e9}
    switches = {k.target for k in topology.links if not re.match(r"(d|nic)\d+$", k.target)}
    assert switches == {f"rail{i}" for i in range(8)}


def test_largest_machine_is_built_and_routed() -> None:
    """16,384 devices: routes are worked out, not searched for."""
    document = {"file": "mi300x-128-nodes-rails.yaml", "nodes": 2048}
    topology = load(document)
    assert len(topology.devices) == 16384
    assert "_search" in vars(topology)  # connectivity was checked
    assert hops(topology, 0, 16383)[0] == "d0→d7"


def busy_node(number: int) -> SimpleNamespace:
    """Return a result on 128 nodes in which one node's devices send to the next node's."""
    found = small_result.result(degree=8, layers=1)
    topology = load_file("mi300x-128-nodes-rails")
    transfers = []
    for device in range(1024):
        to = (device + 8) % 1024
        size = 2_000_000 if device // 8 == number else 1_000_000
        loads = tuple((link, 1.0) for link in topology.route(device, to))
        transfers.append(Transfer(0, (device, to), "shift", size, "ring", loads, 0.0, 1e-3))
    found.timeline = replace(found.timeline, recorded=tuple(transfers), fold=None)
    found.scenario.topology = topology
    return SimpleNamespace(**vars(found))


def test_plot_of_many_nodes_shows_which_is_busy() -> None:
    """The busy node's NICs send twice as much and the next one's receive it; no other does."""
    result = busy_node(5)
    links = result.scenario.topology.links
    loads = plots_topology._by_node(result.scenario.topology, uses(result.timeline, links))
    outside = {node: load for node, (_, load) in loads.items()}
    assert {node for node, load in outside.items() if load > outside["0"] * 1.5} == {"5", "6"}
    axes = plots_topology.plot(result)
    texts = {text.get_text() for text in axes.texts}
    assert {"node 0", "rail7", "127"} <= texts
    assert "node 0 of 128 in full" in axes.get_title(loc="left")


@pytest.mark.parametrize("name", names("topologies"))
def test_every_shipped_topology_is_laid_out(name: str) -> None:
    """Every device of what is drawn has its own place, and every link shown has two ends."""
    topology = load_file(name)
    layout = drawing_of(topology)
    assert len(set(layout.places.values())) == len(layout.places)
    shown = list(layout.shown(topology.links))
    assert shown
    if not layout.note:
        assert len(shown) == len(topology.links)
