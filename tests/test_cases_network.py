"""Collectives that people asked about in public, as they were measured; nothing is fitted to them.

Inputs are in ``tests/data/cases``, by the name of the report. Bus bandwidths in GB/s.
"""

from __future__ import annotations

from pathlib import Path
from statistics import mean

import pytest

from tspsim.collectives.curve import Point, curve
from tspsim.program.types import CollectiveKind
from tspsim.topology.load import load_file, parse_profile

CASES = Path(__file__).parent / "data" / "cases"
GIB = 2**30


def call(
    kind: CollectiveKind,
    size: float,
    topology: str,
    profile: str = "datasheet",
    ranks: int = 0,
    algorithm: str = "auto",
) -> Point:
    """Return one call over the first ranks, or all, of a shipped topology or that of a case."""
    case = CASES / f"{topology}.yaml"
    place = load_file(case if case.is_file() else topology, parse_profile(profile))
    members = tuple(range(ranks or len(place.devices)))
    return curve(kind, [size], members, place, algorithm)[0]


#: nccl#1455: all-reduce of 4 GiB over some of the eight H100 of a node.
H100_NODE = {2: 367, 3: 367, 4: 367, 5: 420, 6: 440, 7: 460, 8: 480}


def test_few_h100_reduce_in_rings_and_many_in_the_switch() -> None:
    """nccl#1455: the rate of rings over 2 to 4 devices, growing with the members from 5 on."""
    points = {
        n: call("all_reduce", 4 * GIB, "h100-node", "h100-published", n) for n in H100_NODE
    }  # fmt: skip
    in_switch = [n for n, point in points.items() if point.algorithm == "in_switch"]
    assert in_switch == [5, 6, 7, 8]
    off = [points[n].busbw / 1e9 / measured - 1 for n, measured in H100_NODE.items()]
    assert mean(map(abs, off)) < 0.06
    assert max(map(abs, off)) < 0.13  # two: rows of small messages show less than large ones reach


@pytest.mark.parametrize(("ranks", "measured"), [(2, 208), (3, 20)])
def test_a_bridge_between_two_and_pcie_between_all(ranks: int, measured: float) -> None:
    """nccl-tests#178: A100 in pairs; the third member brings everybody down to the host's bus."""
    point = call("all_reduce", 8 * GIB, "nccl-tests-178-a100-pairs", "a100-published", ranks)
    assert point.busbw / 1e9 == pytest.approx(measured, rel=0.12)


@pytest.mark.xfail(reason="two NICs for eight A100 carry less than eight of them do", strict=True)
def test_two_nics_for_eight_devices() -> None:
    """nccl#837: 53.95 to 57.06 GB/s; the A100 profile's efficiency is that of a NIC per device."""
    point = call("all_reduce", GIB, "nccl-837-two-nics", "a100-published")
    assert point.busbw / 1e9 == pytest.approx(55.5, rel=0.15)


def test_a_ring_over_nodes_uses_all_nics() -> None:
    """nccl-tests#252, NCCL_ALGO=RING: 97.5 GB/s over four NICs of 200 Gbit/s in each node."""
    point = call("all_reduce", GIB, "nccl-tests-252-two-by-four", algorithm="ring")
    assert point.busbw / 1e9 == pytest.approx(97.5, rel=0.05)


@pytest.mark.parametrize(("kind", "measured"), [("all_reduce", 340), ("all_gather", 200)])
def test_32_nodes_of_h100(kind: CollectiveKind, measured: float) -> None:
    """nccl#1218, 2 GiB: trees keep their rate; a ring of 256 waits at each of its 255 steps."""
    point = call(kind, 2 * GIB, "h100-32-nodes-rail-optimised", "h100-published")
    assert point.busbw / 1e9 == pytest.approx(measured, rel=0.06)


@pytest.mark.parametrize(("algorithm", "most"), [("ring", 12.5), ("tree", 23.4)])
def test_one_nic_for_a_node(algorithm: str, most: float) -> None:
    """nccl-tests#196: over two nodes the bound of a tree is nearly twice that of a ring."""
    point = call("all_reduce", GIB, "nccl-tests-196-one-nic", algorithm=algorithm)
    assert 0.98 * most < point.busbw / 1e9 <= most


@pytest.mark.parametrize("algorithm", ["ring", "direct"])
def test_on_a_switch_direct_takes_as_long_as_a_ring(algorithm: str) -> None:
    """astra-sim#296: 3.5 ms either way, by hand."""
    point = call("all_reduce", 1e8, "astra-sim-296-switch", algorithm=algorithm)
    assert point.time == pytest.approx(3.5e-3, rel=1e-3)


@pytest.mark.parametrize(("algorithm", "measured"), [("tree", 0.134), ("ring", 0.268)])
def test_a_tree_over_two_nodes_takes_half_of_a_ring(algorithm: str, measured: float) -> None:
    """nccl-tests#22: 1 GB over 2 x 8 V100 with a NIC that carries 60 Gbit/s."""
    point = call("all_reduce", 1e9, "nccl-tests-22-p3dn", algorithm=algorithm)
    assert point.time == pytest.approx(measured, rel=0.08)
    if algorithm == "tree":
        assert call("all_reduce", 1e9, "nccl-tests-22-p3dn").algorithm == "tree"


@pytest.mark.parametrize(("members", "measured"), [(1, 0.27), (2, 0.13), (4, 0.067)])
def test_members_of_a_node_add_their_nics(members: int, measured: float) -> None:
    """nccl#1250: 1 GB over two nodes, NICs of 3.7 GB/s: twice the members, half the time."""
    point = call("all_reduce", 1e9, f"nccl-1250-n{members}")
    assert point.time == pytest.approx(measured, rel=0.05)


@pytest.mark.parametrize(("nodes", "measured"), [(2, 310), (4, 180)])
def test_beyond_two_nodes_a_tree_loads_a_nic_twice(nodes: int, measured: float) -> None:
    """nccl#1031: H100 with 200 Gbit/s per device; the step from two nodes to four is a tree's."""
    point = call("all_reduce", 4 * GIB, f"nccl-1031-h100-{nodes}-nodes", "h100-published")
    assert point.busbw / 1e9 == pytest.approx(measured, rel=0.15)
