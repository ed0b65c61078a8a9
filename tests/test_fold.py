"""Folding changes no number: ranks that stand for others have the times that these would have."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tspsim
from tests import toy
from tests.toy import Toy, full, shared
from tspsim.collectives.choose import Chooser
from tspsim.engine.folding.fold import Fold, fold
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.files.errors import UserError
from tspsim.mesh import Mesh
from tspsim.output.plots.links import uses
from tspsim.registry import COLLECTIVES
from tspsim.result import Result
from tspsim.topology.symmetry import image_of_links, orbits

MODEL = {
    "hidden": 512, "layers": 1, "heads": 16, "kv_heads": 8, "ffn": 1024, "vocab": 0,
    "mlp": "gated", "norm": "rmsnorm",
}  # fmt: skip
LINK = {"bandwidth": "10 GB/s", "latency": "2 us"}
NIC = {"bandwidth": "5 GB/s", "latency": "5 us"}


def nodes(count: int, size: int, **fabric: Any) -> dict[str, Any]:
    """Return nodes of fully connected devices."""
    node = {"kind": "full", "ranks": size, "link": LINK}
    return {
        "kind": "nodes",
        "nodes": count,
        "node": node,
        "nic": NIC,
        "device": "a100-sxm-80gb",
    } | fabric


def flat(kind: str, **keys: Any) -> dict[str, Any]:
    """Return a fabric without nodes."""
    return {"kind": kind, "link": LINK, "device": "a100-sxm-80gb"} | keys


FABRICS = [
    flat("full", ranks=8), flat("switch", ranks=8), flat("ring", ranks=8), flat("line", ranks=8),
    flat("torus", shape=[2, 4]), flat("mesh", shape=[2, 4]), nodes(4, 2), nodes(2, 4),
    nodes(4, 2, fabric="fat_tree", oversubscription=2.0), nodes(8, 1),
    nodes(4, 2, fabric="rail_optimised"), nodes(4, 2, fabric="dragonfly", groups=2),
]  # fmt: skip
STRATEGIES = [
    {"kind": "tsp", "degree": 8}, {"kind": "tp", "degree": 4, "dp": 2},
    {"kind": "tsp", "degree": 4, "dp": 2},
    {"kind": "tsp", "degree": 2, "dp": 4, "bucket": "64 KiB"},
    {"kind": "tsp", "degree": 2, "dp": 4, "placement": ["dp", "tsp"]},
    {"kind": "tp", "degree": 4, "dp": 2, "sequence_parallel": True, "zero": 1},
    {"kind": "sp", "degree": 8, "kv": "ring"},
    {"kind": "sp", "degree": 4, "kv": "ulysses", "dp": 2},
    {"kind": "sp", "degree": 4, "kv": "usp", "ulysses_degree": 2, "dp": 2},
    {"kind": "sp", "degree": 2, "dp": 4}, {"kind": "tp_sp", "tp": 2, "sp": 4, "kv": "ring"},
    {"kind": "tp_sp", "tp": 2, "sp": 2, "dp": 2}, {"kind": "tp_sp", "tp": 4, "sp": 2},
    {"kind": "fsdp", "dp": 8}, {"kind": "tsp", "degree": 2, "dp": 4, "zero": 3},
    {"kind": "sp", "degree": 2, "dp": 4, "zero": 2},
    {"kind": "tp", "degree": 2, "dp": 4, "zero": 3, "shard": {"degree": 2}},
    {"kind": "fsdp", "dp": 8, "reshard": 4},
]  # fmt: skip


def document(topology: dict[str, Any], strategy: dict[str, Any], **workload: Any) -> dict[str, Any]:
    """Return a scenario small enough to play hundreds of times."""
    work = {"sequence": 2048, "batch": 1, "phase": "train", "dtype": "bf16"} | workload
    return {
        "name": "fold", "model": MODEL, "workload": work, "topology": topology,
        "strategy": strategy, "optimizer": {"kind": "adamw"},
    }  # fmt: skip


def both(scenario: dict[str, Any]) -> tuple[Result, Result]:
    """Return the result with and without folding."""
    return tspsim.run(scenario), tspsim.run(scenario, "engine.fold=off")


def same(folded: Result, whole: Result) -> None:
    """Assert that two results have the same times, peaks and transfers."""
    step = whole.timeline.step_time
    for name in ("start", "end"):
        pairs = zip(getattr(folded.timeline, name), getattr(whole.timeline, name), strict=True)
        for mine, theirs in pairs:
            np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-9 * step)
    assert [r.peak for r in folded.memory.ranks] == [r.peak for r in whole.memory.ranks]
    assert folded.summary.memory.peak_rank == whole.summary.memory.peak_rank
    assert carried(folded.timeline) == carried(whole.timeline)


def carried(timeline: Timeline) -> list[tuple[Any, ...]]:
    """Return who sent what over which links, whenever."""
    return sorted((t.ranks, t.op, t.bytes, t.algorithm, t.loads) for t in timeline.transfers)


@settings(max_examples=120, deadline=None)
@given(
    st.sampled_from(FABRICS),
    st.sampled_from(STRATEGIES),
    st.sampled_from(["zigzag", "contiguous", "off"]),
    st.sampled_from(["none", "full"]),
    st.sampled_from(["auto", *COLLECTIVES.names()]),
    st.sampled_from([None, 0, 5]),
)
def test_folded_and_unfolded_runs_are_the_same(
    topology: dict[str, Any],
    strategy: dict[str, Any],
    causal: str,
    recompute: str,
    algorithm: str,
    slow: int | None,
) -> None:
    """Every start and end to 1e-9, every peak to the byte, every transfer with its links."""
    scenario = document(topology, strategy, causal=causal, recompute=recompute)
    scenario |= {"network": {"algorithm": algorithm}}
    if slow is not None:
        scenario |= {"disturbances": {"slow_devices": [{"device": slow, "speed": 0.7}]}}
    try:
        folded, whole = both(scenario)
    except UserError:
        return  # what does not divide, or no algorithm that can do it
    assert whole.summary.engine.folded == {}
    same(folded, whole)


@pytest.mark.parametrize("algorithm", ["double_binary_tree", "binomial_tree", "halving_doubling"])
@pytest.mark.parametrize("count", [3, 4])
@pytest.mark.parametrize("fabric", ["fat_tree", "rails"])
def test_trees_that_share_uplinks_with_their_images_are_not_folded_over(
    algorithm: str, count: int, fabric: str
) -> None:
    """A tree loads links unevenly; where trees of other positions cross the same ones, that counts.

    On rails every position has links of its own, and the fold stays.
    """
    tree = {"fabric": "fat_tree", "oversubscription": 2.0} if fabric == "fat_tree" else {}
    strategy = {"kind": "tp", "degree": 2, "dp": count, "bucket": "64 KiB"}
    scenario = document(nodes(count, 2, **tree), strategy) | {"network": {"algorithm": algorithm}}
    folded, whole = both(scenario)
    same(folded, whole)
    if fabric == "rails":
        assert folded.summary.engine.folded == {"tp": 1, "dp": count - 1}


@pytest.mark.parametrize(
    ("topology", "strategy", "axes"),
    [
        (flat("full", ranks=8), {"kind": "tp", "degree": 8}, {"tp": 7}),
        (flat("ring", ranks=8), {"kind": "sp", "degree": 8, "kv": "ring"}, {"sp": 7}),
        (nodes(4, 2), {"kind": "tsp", "degree": 2, "dp": 4}, {"tsp": 1, "dp": 3}),
        (nodes(4, 2), {"kind": "sp", "degree": 8, "kv": "ring"}, {"sp": 6}),
        (flat("torus", shape=[2, 4]), {"kind": "sp", "degree": 8, "kv": "ring"}, {"sp": 4}),
        (nodes(4, 2), {"kind": "tp_sp", "tp": 2, "sp": 2, "dp": 2}, {"tp": 1, "sp": 1, "dp": 1}),
        (flat("line", ranks=8), {"kind": "sp", "degree": 8, "kv": "ring"}, {}),
        (flat("full", ranks=8), {"kind": "tsp", "degree": 8}, {"tsp": 7}),
        (nodes(4, 2), {"kind": "tsp", "degree": 8}, {"tsp": 6}),
    ],
)
def test_result_says_what_was_folded(
    topology: dict[str, Any], strategy: dict[str, Any], axes: dict[str, int]
) -> None:
    """By axis, the coordinates that others stand for: the next one's, or the next node's.

    Roots of broadcasts are all different; that makes none to what others have left of the links.
    """
    folded, whole = both(document(topology, strategy))
    assert folded.summary.engine.folded == axes
    degrees = dict(whole.timeline.mesh.axes)
    played = np.prod([1 - count / degrees[axis] for axis, count in axes.items()])
    assert folded.summary.engine.tasks == pytest.approx(whole.summary.engine.tasks * played)
    same(folded, whole)


def test_uneven_causal_work_is_not_folded() -> None:
    """With contiguous blocks every rank has work of its own; with zigzag all have the same."""
    ring = {"kind": "sp", "degree": 8, "kv": "ring"}
    uneven, even = (
        tspsim.run(document(flat("ring", ranks=8), ring, causal=causal))
        for causal in ("contiguous", "zigzag")
    )
    assert (uneven.summary.engine.folded, even.summary.engine.folded) == ({}, {"sp": 7})


def test_a_slow_device_unfolds_only_its_own_replica() -> None:
    """The others are still alike: one of them is played, and the slow one."""
    scenario = document(nodes(8, 2), {"kind": "tsp", "degree": 2, "dp": 8})
    slow = scenario | {"disturbances": {"slow_devices": [{"device": 5, "speed": 0.5}]}}
    folded, whole = both(slow)
    assert folded.summary.engine.folded == {"dp": 6}
    assert folded.timeline.played == (0, 1, 4, 5)
    same(folded, whole)


def test_jitter_is_not_folded() -> None:
    """Where durations differ by chance nobody stands for anybody."""
    scenario = document(nodes(4, 2), {"kind": "tsp", "degree": 2, "dp": 4})
    jitter = {"jitter": {"compute": {"kind": "lognormal", "sigma": 0.1}}}
    assert tspsim.run(scenario | {"disturbances": jitter}).summary.engine.folded == {}


#: Two nodes with one uplink each, and messages of two replicas that cross it at the same time.
CROSSING = document(
    nodes(2, 2, fabric="fat_tree", oversubscription=2.0),
    {"kind": "tp", "degree": 2, "dp": 2, "placement": ["dp", "tp"]},
    phase="forward",
)


def test_images_of_a_flow_share_its_links() -> None:
    """Replicas whose messages cross one uplink have half of it each, folded or not."""
    folded, whole = both(CROSSING)
    assert folded.summary.engine.folded["dp"] == 1
    same(folded, whole)


def beside_a_broadcast(hop: int) -> tuple[Timeline, Timeline]:
    """Return a ring of four that passes on some bytes while one of them broadcasts 8 in a chain."""
    program = Toy("dp")
    program.communicate("broadcast", 8, "a", root=0)
    program.shift(hop, "b")
    programs, mesh = shared(program, 4), Mesh((("dp", 4),))
    ring = toy.fabric([(f"d{i}", f"d{(i + 1) % 4}") for i in range(4)], 4)
    return tuple(  # type: ignore[return-value]  # two of them
        simulate(Setup(programs, mesh, ring, "bf16", folds=folds), Chooser(ring, "ring"))
        for folds in (True, False)
    )


def test_the_root_of_a_broadcast_makes_no_difference_to_its_members() -> None:
    """It begins and ends for all of them at once: one stands for all."""
    folded, whole = beside_a_broadcast(hop=0)
    assert folded.fold is not None
    assert folded.fold.axes == {"dp": 3}
    assert folded.step_time == whole.step_time == 8


def test_who_shares_links_with_a_broadcast_unevenly_is_not_folded() -> None:
    """A chain does not load the link into its root: that hop is through before the others."""
    folded, whole = beside_a_broadcast(hop=4)
    assert folded.fold is not None
    assert folded.fold.axes == {}
    assert [end.tolist() for end in folded.end] == [end.tolist() for end in whole.end]
    assert {float(t.end) for t in whole.transfers if t.collective == "shift"} == {4, 8}


def test_blocks_of_neighbours_go_to_blocks_and_work_to_its_like() -> None:
    """Pairs that gather stay pairs; work that every other rank has is moved by two places."""
    mesh = Mesh((("dp", 8),))
    pairs, alternating, rising = Toy("dp"), Toy("dp"), Toy("dp")
    pairs.communicate("all_gather", 8, group=2)
    alternating.compute([1, 2] * 4)
    rising.compute(list(range(8)))
    found = [fold(shared(toy, 8), mesh, full(8)).axes for toy in (pairs, alternating, rising)]
    assert found == [{"dp": 6}, {"dp": 6}, {}]


def test_a_symmetry_takes_every_link_to_one_like_it() -> None:
    """Turning a ring by one place is a symmetry, of a ring with one slow link it is not."""
    ring = toy.full(4)
    turned = [1, 2, 3, 0]
    images = image_of_links(ring, turned)
    assert images is not None
    for link in ring.links:
        image = ring.links[images[link.index]]
        assert image.source == f"d{turned[int(link.source[1:])]}"
        assert image.target == f"d{turned[int(link.target[1:])]}"
    slower = replace(ring.links[0], bandwidth=0.5)
    assert image_of_links(replace(ring, links=(slower, *ring.links[1:])), turned) is None
    assert image_of_links(replace(ring, node_of=(0, 0, 1, 1)), turned) is None
    assert image_of_links(replace(ring, node_of=(0, 1, 0, 1)), turned) is not None


def test_a_switch_that_adds_up_goes_to_one_that_does() -> None:
    """Two planes of switches alike but for that are not exchanged."""
    star = toy.switched(2)
    twin = [
        replace(link, index=len(star.links) + link.index, source=f"{link.source}x")
        if not link.source.startswith("d")
        else replace(link, index=len(star.links) + link.index, target=f"{link.target}x")
        for link in star.links
    ]
    both_planes = replace(star, links=(*star.links, *twin))
    hub = next(link.target for link in star.links if link.source == "d0")
    assert image_of_links(both_planes, [1, 0]) is not None
    images = image_of_links(replace(both_planes, reducing=frozenset({hub})), [1, 0])
    assert images is not None
    assert {both_planes.links[i].target for i in images[:4]} == {"d0", "d1", hub}


def test_orbits_are_what_permutations_join() -> None:
    """Two turns of a 2 x 3 grid join all six places; one joins rows, or columns."""
    rows, columns = np.array([3, 4, 5, 0, 1, 2]), np.array([1, 2, 0, 4, 5, 3])
    assert orbits(6, [(rows, 2)]).tolist() == [0, 1, 2, 0, 1, 2]
    assert orbits(6, [(columns, 3)]).tolist() == [0, 0, 0, 3, 3, 3]
    assert orbits(6, [(rows, 2), (columns, 3)]).tolist() == [0] * 6


def test_of_many_ranks_only_those_that_were_played_are_shown() -> None:
    """Outputs of a thousand ranks would be a thousand times the same."""
    small = tspsim.run(document(nodes(4, 2), {"kind": "tsp", "degree": 2, "dp": 4})).timeline
    many = tspsim.run(document(nodes(64, 2), {"kind": "tsp", "degree": 2, "dp": 64})).timeline
    assert small.shown == tuple(range(8))
    assert many.shown == many.played == (0,)
    assert many.end[127] is many.end[1]
    assert all(a.start <= b.start for a, b in pairwise(many.transfers))


def test_links_of_ranks_that_are_not_played_carry_what_they_would() -> None:
    """Busy shares and bytes of every link of 40 nodes, from the one that was played."""
    scenario = document(nodes(40, 2), {"kind": "tsp", "degree": 2, "dp": 40})
    folded, whole = both(scenario)
    assert folded.timeline.played == (0,)
    links = folded.scenario.topology.links
    pairs = zip(uses(folded.timeline, links), uses(whole.timeline, links), strict=True)
    for mine, theirs in pairs:
        assert mine.bytes == pytest.approx(theirs.bytes)
        assert mine.busy == pytest.approx(theirs.busy)


def test_without_the_share_of_its_images_a_flow_would_be_too_fast(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The comparison can fail: a flow that forgets its images has the uplink for itself."""
    whole = tspsim.run(CROSSING, "engine.fold=off").timeline

    def alone(_: Fold, ranks: tuple[int, ...], loads: Any, *, hop: bool) -> Any:  # noqa: ARG001
        return loads

    monkeypatch.setattr(Fold, "shared", alone)
    assert tspsim.run(CROSSING).timeline.step_time < 0.9 * whole.step_time


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b", "interleaved", "zb_h1", "zb_v", "dualpipe"])
def test_replicas_fold_under_every_schedule(schedule: str) -> None:
    """Times, peaks and transfers of stages x replicas x TSP are those of the unfolded run."""
    topology = {"file": "h100-node"}
    strategy = {"kind": "tsp", "degree": 2, "dp": 2, "pp": {"stages": 2, "schedule": schedule}}
    scenario = document(topology, strategy, micro_batches=4)
    scenario["model"] = {**MODEL, "layers": 4}
    folded, whole = both(scenario)
    assert "dp" in folded.summary.engine.folded
    same(folded, whole)
