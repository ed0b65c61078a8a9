"""Collective algorithms: what they send, replayed, their closed forms, and what auto takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from tests.replay import does_its_job, without_one_send
from tspsim.collectives import in_switch, levels, rings, schedule
from tspsim.collectives.algorithm import Algorithm, Anywhere, Sending, reach_of
from tspsim.collectives.choose import Chooser, choose, considered
from tspsim.collectives.in_switch import Reductions, Sum
from tspsim.collectives.plan import Plan
from tspsim.collectives.schedule import Schedule, planned
from tspsim.files.errors import TopologyError
from tspsim.program.types import COLLECTIVE_KINDS, CollectiveKind
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Device, Profile
from tspsim.topology.load import load_file, parse

ALPHA, BANDWIDTH = 1e-6, 50e9
NIC_ALPHA, NIC = 5e-6, 10e9
DEVICE = Device("x", (("bf16", 1e14),), memory_bandwidth=1e12, memory=80e9)
LINK = {"bandwidth": "50 GB/s", "latency": "1 us"}
SIZES = [1.0, 1e4, 1e6, 1e9]
MEMBERS = [*range(1, 10), 16]
#: All but a hop, which is no matter of the algorithm.
KINDS = COLLECTIVE_KINDS[:6]


def make(kind: str, ranks: int) -> Topology:
    """Return devices on equal links; ``in_switch``: around a switch that adds up."""
    generator = "switch" if kind == "in_switch" else kind
    form = parse({"kind": generator, "ranks": ranks, "link": LINK})
    built = form.build((DEVICE,) * ranks, Profile("p"), kind)
    return replace(built, reducing=frozenset({"switch"})) if kind == "in_switch" else built


def cluster(nodes: int, size: int, inside: str = "switch", fabric: str = "rails") -> Topology:
    """Return nodes of some devices with a NIC each."""
    node = {"kind": inside, "ranks": size, "link": LINK}
    nic = {"bandwidth": "10 GB/s", "latency": "5 us"}
    form = parse({"kind": "nodes", "nodes": nodes, "node": node, "nic": nic, "fabric": fabric})
    return form.build((DEVICE,) * (nodes * size), Profile("p"), "cluster")


def torus(*shape: int) -> Topology:
    """Return a torus."""
    form = parse({"kind": "torus", "shape": list(shape), "link": LINK})
    return form.build((DEVICE,) * math.prod(shape), Profile("p"), "torus")


def places(name: str) -> Iterator[Topology]:
    """Yield topologies of 1 to 9 and 16 devices that an algorithm is made for."""
    if name.startswith("hierarchical") or name == "tree":
        shapes = [(2, 2), (2, 3), (3, 2), (4, 2), (2, 4), (3, 3), (4, 4), (8, 2), (2, 8)]
        yield from (cluster(*shape) for shape in shapes)
    elif name == "multi_ring":
        yield from (make("full", n) for n in (3, 4, 5, 6, 7, 8, 9, 16))
        yield from (cluster(*shape) for shape in [(2, 2), (3, 3), (2, 4), (4, 4), (3, 4)])
        yield torus(4, 4)
    else:
        yield from (make("full", n) for n in MEMBERS)


SENDING = [name for name in COLLECTIVES.names() if isinstance(COLLECTIVES.get(name), Sending)]
#: What each can do; every other kind is refused.
ABLE: dict[str, tuple[CollectiveKind, ...]] = {
    "ring": KINDS,
    "direct": KINDS,
    "gloo": KINDS,
    "bidirectional_ring": KINDS,
    "multi_ring": ("all_reduce", "all_gather", "reduce_scatter", "broadcast", "reduce"),
    "binomial_tree": ("all_reduce", "broadcast", "reduce"),
    "double_binary_tree": ("all_reduce", "broadcast", "reduce"),
    "recursive_doubling": ("all_reduce", "all_gather"),
    "halving_doubling": ("all_reduce", "reduce_scatter"),
    "hierarchical": KINDS,
    "hierarchical_doubling": ("all_reduce", "all_gather", "reduce_scatter"),
    "one_shot": ("all_reduce",),
    "pairwise": ("all_to_all",),
    "tree": ("all_reduce",),
    "two_shot": ("all_reduce",),
}


def made(name: str, kind: CollectiveKind, topology: Topology, root: int = 0) -> Schedule | None:
    """Return the sends of an algorithm over all devices of a topology."""
    algorithm: Sending = COLLECTIVES.get(name)
    return algorithm.schedule(kind, tuple(range(len(topology.devices))), topology, root)


def test_every_algorithm_that_sends_is_listed() -> None:
    """A new file does not get by without a test."""
    assert sorted(ABLE) == sorted(SENDING)
    assert sorted([*ABLE, "in_switch"]) == list(COLLECTIVES.names())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ABLE)
def test_replayed_sends_do_what_the_name_says(name: str, kind: CollectiveKind) -> None:
    """For 1 to 9 and 16 members and every root all chunks end where they must, added up once."""
    for topology in places(name):
        n = len(topology.devices)
        for root in range(n if kind in ("broadcast", "reduce") else 1):
            schedule = made(name, kind, topology, root)
            if n > 1 and kind not in ABLE[name]:
                assert schedule is None
            else:
                assert schedule is not None, (topology.name, n)
                assert n == 1 or does_its_job(kind, schedule, n, root), (topology.name, n, root)


@pytest.mark.parametrize(
    ("name", "kind"), [(name, kind) for name, kinds in ABLE.items() for kind in kinds]
)
def test_no_send_can_be_left_out(name: str, kind: CollectiveKind) -> None:
    """The replay notices every missing send, so it proves something."""
    nodes = name == "tree" or name.startswith("hierarchical")
    topology = cluster(2, 2) if nodes else make("full", 5)
    n = len(topology.devices)
    schedule = made(name, kind, topology, 1)
    assert schedule is not None
    for less in without_one_send(schedule):
        if (name, kind) != ("gloo", "reduce_scatter"):  # which is a whole all_reduce
            assert not does_its_job(kind, less, n, 1)


@pytest.mark.parametrize("network", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_a_switch_that_adds_up_does_what_the_name_says(kind: CollectiveKind, network: bool) -> None:
    """For 2 to 9 and 16 members and every root; without one of its sums it does not."""
    for n in MEMBERS[1:]:
        for root in range(n):
            found = in_switch.sums(kind, n, root, network)
            if kind == "all_to_all":
                assert found is None
                continue
            assert found is not None
            assert does_its_job(kind, found, n, root)
            for less in without_a_sum_or_source(found):
                assert not does_its_job(kind, less, n, root)


def without_a_sum_or_source(whole: Reductions) -> Iterator[Reductions]:
    """Yield the sums with the last one of a step left out, or with one source missing in it."""
    for s, step in enumerate(whole.steps):
        last = step[-1]
        shorter = [(*step[:-1], Sum(last.sources[1:], last.targets, last.chunks)), step[:-1]]
        for less in shorter:
            yield Reductions((*whole.steps[:s], less, *whole.steps[s + 1 :]), whole.pieces)


@pytest.mark.parametrize("name", ABLE)
def test_traffic_is_the_sum_of_the_sends(name: str) -> None:
    """What is planned without writing all sends down is planned as if they had been."""
    algorithm: Sending = COLLECTIVES.get(name)
    for topology in places(name):
        ranks = tuple(range(len(topology.devices)))
        if len(ranks) == 1:
            continue
        for kind in ABLE[name]:
            schedule = made(name, kind, topology, 1)
            traffic = algorithm.traffic(kind, ranks, topology, 1)
            assert schedule is not None
            assert traffic is not None
            one, other = (planned(name, what, ranks, topology) for what in (schedule, traffic))
            assert dict(one.loads) == pytest.approx(dict(other.loads))
            assert (one.latency, one.stages, one.step_latency, one.efficiency) == pytest.approx(
                (other.latency, other.stages, other.step_latency, other.efficiency)
            )


@pytest.mark.parametrize("file", ["tpu-v4-cube", "h100-4-nodes", "gb200-nvl72"])
def test_tables_of_routes_give_the_plans_that_walking_along_them_gives(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where most members send to most others; the same loads and latency to the last bit."""
    topology = load_file(file)
    ranks = tuple(range(32))
    calls = [(kind, root) for kind in KINDS for root in (0, 5)]
    makers: list[Algorithm] = [COLLECTIVES.get(name) for name in COLLECTIVES.names()]

    def plans() -> list[Plan | None]:
        return [make(kind, ranks, topology, root) for make in makers for kind, root in calls]

    monkeypatch.setattr(schedule, "_FEW", 0)
    by_table = plans()
    monkeypatch.setattr(schedule, "_FEW", len(ranks) ** 2)
    assert by_table == plans()


# ---- closed forms --------------------------------------------------------------------------------


def uncontended(name: str, kind: CollectiveKind, topology: Topology, size: float) -> float:
    """Return the time of one call over all devices."""
    ranks = tuple(range(len(topology.devices)))
    return choose(kind, size, ranks, topology, 0, name).time(size, topology)


def log2(n: int) -> int:
    """Return the steps in which what one has doubles until it is n."""
    return (n - 1).bit_length()


def folds(n: int) -> int:
    """Return 1 where members are beyond the largest power of two below n."""
    return 0 if n & (n - 1) == 0 else 1


def doubling(n: int, t: float, share: float) -> float:
    """Return ``log2 p`` steps and twice a fold of a whole message, p the power of two below n."""
    steps = n.bit_length() - 1
    return steps * ALPHA + share * t + folds(n) * 2 * (ALPHA + t)


#: Seconds for n members, a whole message taking t on one link or port.
CLOSED_FORMS: dict[tuple[str, str, CollectiveKind], Callable[[int, float], float]] = {
    ("bidirectional_ring", "ring", "all_gather"): lambda n, t: (
        n // 2 * ALPHA + (n - 1) / 2 * t / n
    ),
    ("bidirectional_ring", "ring", "reduce_scatter"): lambda n, t: (
        n // 2 * ALPHA + (n - 1) / 2 * t / n
    ),
    ("bidirectional_ring", "ring", "all_reduce"): lambda n, t: (
        2 * (n // 2) * ALPHA + (n - 1) * t / n
    ),
    ("bidirectional_ring", "ring", "all_to_all"): lambda n, t: (
        n // 2 * ALPHA + (n * n // 4) / 2 * t / n
    ),
    ("binomial_tree", "full", "broadcast"): lambda n, t: log2(n) * (ALPHA + t),
    ("binomial_tree", "switch", "broadcast"): lambda n, t: log2(n) * (ALPHA + t),
    ("binomial_tree", "switch", "reduce"): lambda n, t: log2(n) * (ALPHA + t),
    ("binomial_tree", "switch", "all_reduce"): lambda n, t: 2 * log2(n) * (ALPHA + t),
    ("recursive_doubling", "full", "all_reduce"): lambda n, t: doubling(
        n, t, n.bit_length() - 1
    ),
    ("recursive_doubling", "switch", "all_reduce"): lambda n, t: doubling(
        n, t, n.bit_length() - 1
    ),
    ("halving_doubling", "switch", "all_reduce"): lambda n, t: (
        doubling(n, t, 2 * (1 - 1 / (1 << (n.bit_length() - 1)))) + (n.bit_length() - 1) * ALPHA
    ),
    ("one_shot", "full", "all_reduce"): lambda _, t: ALPHA + t,
    ("one_shot", "switch", "all_reduce"): lambda n, t: ALPHA + (n - 1) * t,
    ("two_shot", "switch", "all_reduce"): lambda n, t: 2 * (ALPHA + (n - 1) / n * t),
    ("pairwise", "full", "all_to_all"): lambda n, t: (n - 1) * (ALPHA + t / n),
    ("pairwise", "switch", "all_to_all"): lambda n, t: (n - 1) * (ALPHA + t / n),
    ("in_switch", "in_switch", "all_reduce"): lambda n, t: 2 * ALPHA + (1 + 1 / n) * t,
    ("in_switch", "in_switch", "all_gather"): lambda _, t: ALPHA + t,
    ("in_switch", "in_switch", "reduce_scatter"): lambda _, t: ALPHA + t,
    ("in_switch", "in_switch", "broadcast"): lambda _, t: ALPHA + t,
    ("in_switch", "in_switch", "reduce"): lambda _, t: ALPHA + t,
}  # fmt: skip


@pytest.mark.parametrize("case", CLOSED_FORMS, ids="-".join)
@pytest.mark.parametrize("size", SIZES)
def test_time_is_the_closed_form(case: tuple[str, str, CollectiveKind], size: float) -> None:
    """Where nothing contends, loads and latency give the formula for every degree."""
    name, on, kind = case
    for n in (3, 4, 5, 6, 7, 8, 9, 16):
        wanted = CLOSED_FORMS[case](n, size / BANDWIDTH)
        assert uncontended(name, kind, make(on, n), size) == pytest.approx(wanted), n


@pytest.mark.parametrize("size", SIZES)
def test_gathering_by_doubling_moves_no_byte_twice(size: float) -> None:
    """A power of two takes ``log2 n`` steps and the bytes of a ring; so does reduce-scatter."""
    cases: list[tuple[str, CollectiveKind]] = [
        ("recursive_doubling", "all_gather"), ("halving_doubling", "reduce_scatter"),
    ]  # fmt: skip
    for n in (2, 4, 8, 16):
        for name, kind in cases:
            wanted = log2(n) * ALPHA + (n - 1) / n * size / BANDWIDTH
            assert uncontended(name, kind, make("switch", n), size) == pytest.approx(wanted)


def pipeline(stages: list[float], transfer: float) -> float:
    """Return the best time over whole numbers of parts that follow each other through stages."""
    slowest, behind = max(stages), len(stages) - 1
    return min(
        sum(stages) + (k - 1) * slowest + (k + behind) * transfer / k for k in range(1, 4001)
    )


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 1e7])
def test_double_binary_tree_is_a_pipeline_of_two_trees(size: float) -> None:
    """A port carries an all-reduce twice and a broadcast once, in about log2 n stages each way."""
    for n in (4, 5, 8, 9, 16):
        topology = make("switch", n)
        for kind, times in (("all_reduce", 2), ("broadcast", 1), ("reduce", 1)):
            schedule = made("double_binary_tree", kind, topology)  # type: ignore[arg-type]
            assert schedule is not None
            depth = len(schedule.steps)
            assert depth <= times * (log2(n) + 1)
            best = pipeline([ALPHA] * depth, times * size / BANDWIDTH)
            got = uncontended("double_binary_tree", kind, topology, size)  # type: ignore[arg-type]
            assert best * 0.97 <= got <= best * (1 + 1e-9)


def test_in_two_trees_nobody_is_inside_twice() -> None:
    """Every member but the tops is a leaf of one tree: a port carries no message thrice."""
    for n in range(2, 40):
        topology = make("switch", n)
        plan = choose("all_reduce", 1.0, tuple(range(n)), topology, 0, "double_binary_tree")
        assert max(load for _, load in plan.loads) <= 2.0


@pytest.mark.parametrize("size", SIZES)
def test_rings_that_share_no_link_share_the_load(size: float) -> None:
    """On a full mesh of n, n-1 rings, or n-2 where n is even; on a torus as many as links."""
    cases = [(make("full", n), n - 1 if n % 2 else n - 2) for n in range(3, 10)]
    cases += [(torus(4, 4), 4), (torus(3, 3), 4), (torus(3, 3, 3), 6)]
    for topology, count in cases:
        n = len(topology.devices)
        wanted = 2 * (n - 1) * (ALPHA + size / BANDWIDTH / n / count)
        assert uncontended("multi_ring", "all_reduce", topology, size) == pytest.approx(wanted)


def test_rings_are_rings_and_share_no_link() -> None:
    """Each visits every member once, and no connection is used by two of them."""
    for topology in (make("full", 8), make("full", 9), torus(4, 4, 4), torus(16, 16)):
        ranks = tuple(range(len(topology.devices)))
        found = rings.edge_disjoint(rings.joined(ranks, topology))
        used: set[frozenset[int]] = set()
        for ring in found:
            assert sorted(ring) == list(ranks)
            edges = {frozenset(pair) for pair in pairwise((*ring, ring[0]))}
            assert len(edges) == len(ranks)
            assert not edges & used
            assert all(len(topology.route(*sorted(edge))) == 1 for edge in edges)
            used |= edges
        assert len(found) == min(map(len, rings.joined(ranks, topology))) // 2


def test_a_thousand_members_are_planned_from_a_few_thousand_hops() -> None:
    """What repeats is counted, not written down: a ring's two million sends are 1,024 hops."""
    alone, everybody = make("ring", 3), tuple(range(1024))
    nodes = cluster(128, 8)
    hops = {
        name: sum(
            len(some.sends)
            for kind in ("all_reduce", "all_gather", "reduce_scatter")
            if (traffic := COLLECTIVES.get(name).traffic(kind, everybody, where, 0)) is not None
            for some in traffic.hops
        )
        for name, where in (
            ("ring", alone), ("bidirectional_ring", alone), ("recursive_doubling", alone),
            ("halving_doubling", alone), ("double_binary_tree", alone), ("multi_ring", nodes),
            ("hierarchical", nodes), ("hierarchical_doubling", nodes),
        )
    }  # fmt: skip
    assert hops["ring"] == 3 * 1024
    assert hops["bidirectional_ring"] == 6 * 1024
    assert hops["multi_ring"] == 3 * 8 * 1024
    assert max(hops.values()) < 64 * 1024


def test_rings_over_nodes_enter_and_leave_by_a_nic_of_their_own() -> None:
    """Every NIC carries one ring each way, and no link of a full mesh two."""
    for size in (2, 4, 8):
        topology = cluster(4, size, "full")
        n = 4 * size
        plan = choose("all_gather", 1.0, tuple(range(n)), topology, None, "multi_ring")
        loads = {topology.links[i].name: load for i, load in plan.loads}
        ring_load = (n - 1) / n / size
        for i in range(n):
            assert loads[f"d{i}→nic{i}"] == pytest.approx(ring_load)
            assert loads[f"nic{i}→d{i}"] == pytest.approx(ring_load)
        assert max(loads.values()) == pytest.approx(ring_load)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 1e8])
@pytest.mark.parametrize("name", ["hierarchical", "hierarchical_doubling"])
def test_two_levels_are_a_pipeline_inside_across_and_inside(name: str, size: float) -> None:
    """The busiest of port and NIC sets the pace; a message fills the three stages first."""
    for nodes, m in [(2, 4), (4, 2), (4, 8), (16, 4)]:
        across = 2 * (nodes - 1) if name == "hierarchical" else 2 * log2(nodes)
        port = 2 * (m - 1) / m * size / BANDWIDTH
        nic = 2 * (nodes - 1) / nodes * size / m / NIC
        best = pipeline([ALPHA, across * NIC_ALPHA, ALPHA], max(port, nic))
        got = uncontended(name, "all_reduce", cluster(nodes, m), size)
        assert best * 0.97 <= got <= best * (1 + 1e-9)


@pytest.mark.parametrize("size", [1.0, 1e4, 1e6, 1e8])
def test_gathers_and_broadcasts_in_two_levels_have_two_or_three_stages(size: float) -> None:
    """Across and inside; a broadcast is cut inside first, so every NIC of a node carries a part."""
    for nodes, m in [(2, 4), (4, 2), (4, 8), (16, 4)]:
        topology = cluster(nodes, m)
        port, nic = (m - 1) / m * size / BANDWIDTH, size / m / NIC
        gather = pipeline([ALPHA, (nodes - 1) * NIC_ALPHA], max(port, (nodes - 1) / nodes * nic))
        across = log2(nodes) * NIC_ALPHA
        tree = pipeline([ALPHA, across, ALPHA], max(2 * port, log2(nodes) * nic))
        wanted: dict[CollectiveKind, float] = {
            "all_gather": gather, "reduce_scatter": gather, "broadcast": tree, "reduce": tree,
        }  # fmt: skip
        for kind, best in wanted.items():
            got = uncontended("hierarchical", kind, topology, size)
            assert best * 0.97 <= got <= best * (1 + 1e-9), (kind, nodes, m)


@pytest.mark.parametrize("size", SIZES)
def test_rings_over_nodes_take_all_nics(size: float) -> None:
    """One ring per member of a node: a NIC carries 1/m of what a ring does, a port the rest."""
    for nodes, m in [(2, 2), (4, 4), (2, 8), (8, 4)]:
        n = nodes * m
        busiest = max(size / m / NIC, (m - 1) / m * size / BANDWIDTH)
        wanted = 2 * (n - 1) * (NIC_ALPHA + busiest / n)
        got = uncontended("multi_ring", "all_reduce", cluster(nodes, m), size)
        assert got == pytest.approx(wanted), (nodes, m)


@pytest.mark.parametrize("size", [1.0, 1e6])
def test_hierarchical_all_to_all_crosses_on_rails_alone(size: float) -> None:
    """What goes to another node has left by the NIC of its place; ports carry the sorting."""
    nodes, m = 4, 8
    port, nic = (m - 1) / m * size / BANDWIDTH, (nodes - 1) / nodes * size / NIC
    best = pipeline([ALPHA, NIC_ALPHA], max(port, nic))
    got = uncontended("hierarchical", "all_to_all", cluster(nodes, m), size)
    assert best * 0.97 <= got <= best * (1 + 1e-9)


def test_switches_of_a_network_add_up_too() -> None:
    """One member per node, rails that reduce: the message crosses each NIC once each way."""
    plain = cluster(8, 2)
    topology = replace(plain, reducing=frozenset({"rail0", "rail1"}))
    ranks = tuple(range(0, 16, 2))
    plan = choose("all_reduce", 1e6, ranks, topology, None, "in_switch")
    assert {load for _, load in plan.loads} == {1.0}
    assert plan.time(1e6, topology) == pytest.approx(NIC_ALPHA + 1e6 / NIC)


# ---- what auto considers, and what is refused ----------------------------------------------------


def test_places_are_told_apart() -> None:
    """All joined by a link or a switch; some devices apart; in several nodes."""
    eight = tuple(range(8))
    assert reach_of(eight, make("full", 8)) == "flat"
    assert reach_of(eight, make("switch", 8)) == "flat"
    assert reach_of(eight, make("ring", 8)) == "fabric"
    assert reach_of(eight, cluster(2, 4)) == "nodes"
    assert reach_of((4, 5, 6, 7), cluster(2, 4)) == "flat"
    assert reach_of((0, 4), cluster(2, 4)) == "nodes"


def test_inside_a_flat_node_auto_takes_what_its_library_has() -> None:
    """Ring or direct, or the switch where it adds up; never trees or doubling."""
    eight = tuple(range(8))
    for on, more in (("full", set()), ("switch", set()), ("in_switch", {"in_switch"})):
        planner = Chooser(make(on, 8))
        chosen = {
            planner.choose(kind, size, eight, 1).algorithm for kind in KINDS for size in SIZES
        }
        assert chosen <= {"ring", "direct"} | more
    assert planner.choose("all_reduce", 1e9, eight, None).algorithm == "in_switch"


def test_across_nodes_auto_takes_what_its_library_has() -> None:
    """Trees for a short all-reduce, rings for a long one: over many nodes they load NICs alike."""
    planner = Chooser(cluster(16, 8))
    everybody, one_each = tuple(range(128)), tuple(range(0, 128, 8))
    for members in (everybody, one_each):
        found = [planner.choose("all_reduce", s, members, None).algorithm for s in (1e3, 1e6, 1e11)]
        assert found == ["tree", "tree", "ring"]
    for kind in ("all_gather", "reduce_scatter"):
        found = [planner.choose(kind, s, everybody, None).algorithm for s in (1e3, 1e9)]  # type: ignore[arg-type]
        assert found == ["ring", "ring"]
    assert planner.choose("broadcast", 1e3, one_each, 0).algorithm == "binomial_tree"


@pytest.mark.parametrize("size", [1e6, 1e9])
def test_trees_over_two_nodes_load_a_nic_with_half_of_what_a_ring_does(size: float) -> None:
    """Over four or more with as much: a node inside a tree hears from two and tells two."""
    for nodes, share in ((2, 1 / 4), (3, 3 / 8), (4, 2 / 4), (9, 2 / 4)):
        topology = cluster(nodes, 4)
        ranks = tuple(range(4 * nodes))
        plan = choose("all_reduce", size, ranks, topology, None, "tree")
        loads = {topology.links[link].name: load for link, load in plan.loads}
        nics = {name: load for name, load in loads.items() if "nic" in name}
        assert max(nics.values()) == pytest.approx(share)
        ports = (load for name, load in loads.items() if "nic" not in name and "d0" in name)
        assert max(ports) == pytest.approx(2 * 3 / 4)


def test_nodes_of_unlike_size_have_a_tree_too() -> None:
    """Three members of one node and one of the other: as many channels as the larger has."""
    topology, ranks = cluster(2, 3), (0, 1, 2, 4)
    algorithm: Sending = COLLECTIVES.get("tree")
    schedule = algorithm.schedule("all_reduce", ranks, topology, None)
    assert schedule is not None
    assert does_its_job("all_reduce", schedule, 4, 0)


def test_on_a_torus_auto_uses_all_links() -> None:
    """Six rings at once for a large gather on a torus of three dims."""
    topology = torus(3, 3, 3)
    planner, everybody = Chooser(topology), tuple(range(27))
    assert planner.choose("all_reduce", 1e10, everybody, None).algorithm == "multi_ring"


def test_auto_takes_the_fastest_of_what_it_considers() -> None:
    """No algorithm that it considers beats the one that it takes."""
    for topology in (make("ring", 8), torus(4, 4), cluster(4, 4), make("in_switch", 8)):
        ranks = tuple(range(len(topology.devices)))
        place = reach_of(ranks, topology)
        names = [
            name for name in COLLECTIVES.names()
            if considered(COLLECTIVES.get(name), "all_reduce", place, len(ranks))
            and not COLLECTIVES.get(name).serving
        ]  # fmt: skip
        planner = Chooser(topology)
        for size in SIZES:
            times = {}
            for name in names:
                plan = COLLECTIVES.get(name)("all_reduce", ranks, topology, None)
                if plan is not None:
                    times[name] = plan.time(size, topology)
            chosen = planner.choose("all_reduce", size, ranks, None)
            assert chosen.time(size, topology) == min(times.values())
            assert times[chosen.algorithm] == min(times.values())


@pytest.mark.parametrize(
    ("name", "kind", "topology", "why"),
    [
        ("in_switch", "all_reduce", make("switch", 4), "no switch of 'switch' adds up"),
        ("in_switch", "all_to_all", make("in_switch", 4), "it has no all_to_all"),
        ("hierarchical", "all_reduce", make("full", 4), "it needs several nodes with as many"),
        ("multi_ring", "all_gather", make("switch", 4), "no two rings through all of them"),
        ("binomial_tree", "all_gather", make("full", 4), "it has no all_gather"),
        ("hierarchical_doubling", "broadcast", cluster(2, 2), "it has no broadcast of its own"),
    ],
)
def test_what_the_topology_cannot_carry_is_refused_with_the_reason(
    name: str, kind: CollectiveKind, topology: Topology, why: str
) -> None:
    """The message says why, and which algorithms can."""
    with pytest.raises(TopologyError) as refused:
        choose(kind, 1e6, (0, 1, 2, 3), topology, 0, name)
    text = str(refused.value)
    assert text.startswith(f"network.algorithm: '{name}' cannot do {kind} over 4 ranks ({why}")
    assert text.endswith(" can")
    assert "direct" in text.partition(");")[2]


@pytest.mark.parametrize("name", [name for name in COLLECTIVES.names() if name != "gloo"])
def test_a_hop_is_the_same_for_all(name: str) -> None:
    """A shift is one message on its route."""
    topology = make("ring", 8)
    plan = choose("shift", 1e6, (1, 3), topology, None, name)
    assert plan.loads == tuple((link, 1.0) for link in sorted(topology.route(1, 3)))
    assert choose("shift", 1e6, (2, 2), topology, None, name).loads == ()


def test_members_of_nodes_need_not_stand_in_order() -> None:
    """Interleaved nodes are told apart, and the sends still do their job."""
    topology = cluster(2, 3)
    ranks = (3, 0, 1, 4, 5, 2)
    algorithm: Sending = COLLECTIVES.get("hierarchical")
    for kind in KINDS:
        schedule = algorithm.schedule(kind, ranks, topology, 2)
        assert schedule is not None
        assert does_its_job(kind, schedule, 6, 2), kind
    assert levels.spans((3, 2)) == [range(2, 4)]
    assert isinstance(COLLECTIVES.get("binomial_tree"), Anywhere)
