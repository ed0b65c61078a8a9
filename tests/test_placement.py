"""Placement: which devices the axes of the mesh lie on, and what it costs and changes."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tests.schedules import options, record
from tspsim.cli import placement
from tspsim.cli.app import app
from tspsim.files.errors import ScenarioError
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Workload
from tspsim.scenario import load
from tspsim.values import compare

MODEL = ModelShape(hidden=32, layers=1, heads=8, kv_heads=4, ffn=24, vocab=24, head_dim=4)
WORKLOAD = Workload(sequence=16, dtype="fp64")

#: Two nodes of eight devices, on rails.
CLUSTER: dict[str, Any] = {
    "name": "cluster",
    "kernels": "ideal",
    "timing": {"profile": "datasheet"},
    "model": {
        "hidden": 4096, "layers": 2, "heads": 32, "kv_heads": 32, "ffn": 16384, "vocab": 0,
    },
    "workload": {"sequence": 16384},
    "topology": {"file": "mi300x-128-nodes-rails.yaml", "nodes": 2},
    "strategy": {"kind": "tsp", "degree": 8, "dp": 2},
}  # fmt: skip


def test_replicas_lie_outermost_unless_placed_otherwise() -> None:
    """The strategy's own axes are neighbours; with one replica there is no axis of them."""
    assert options("tsp", degree=4, dp=2).mesh() == Mesh((("dp", 2), ("tsp", 4)))
    assert options("tp_sp", tp=4, sp=2, dp=3).mesh() == Mesh((("dp", 3), ("sp", 2), ("tp", 4)))
    assert options("tsp", degree=4).mesh() == Mesh((("tsp", 4),))


def test_the_first_axis_of_a_placement_is_that_of_neighbours() -> None:
    """Ranks i and i + 1 differ in the innermost axis; the outermost has the largest stride."""
    mesh = options("tp_sp", tp=4, sp=2, dp=3, placement=["sp", "dp", "tp"]).mesh()
    assert mesh == Mesh((("tp", 4), ("dp", 3), ("sp", 2)))
    assert mesh.group(0, "sp") == (0, 1)
    assert mesh.group(0, "dp") == (0, 2, 4)
    assert mesh.group(0, "tp") == (0, 6, 12, 18)


@pytest.mark.parametrize("zero", [0, 1])
@pytest.mark.parametrize("order", list(permutations(["tp", "sp", "dp"])), ids="-".join)
def test_every_placement_computes_the_dense_models_numbers(order, zero) -> None:
    """Where an axis lies changes no value."""
    variant = ("tp_sp", {"tp": 2, "sp": 2, "dp": 2, "zero": zero, "placement": list(order)})
    programs, mesh = record(variant, MODEL, WORKLOAD)
    proof = compare(programs, mesh, MODEL, WORKLOAD)
    assert proof.passed, proof.worst


def test_a_placement_may_name_replicas_where_there_is_one() -> None:
    """So that one placement serves every `dp` of a sweep."""
    scenario = tspsim.load(
        "tsp-layer", ["strategy={kind: tsp, degree: 4, placement: [tsp, dp], dp: 1}"]
    )
    assert scenario.strategy.mesh() == Mesh((("tsp", 4),))


def test_weights_that_travel_between_nodes_take_longer() -> None:
    """TSP across two nodes sends over the NICs what it would send inside a node."""
    inside = tspsim.run(CLUSTER, "workload.phase=forward").summary
    across = tspsim.run(CLUSTER, "workload.phase=forward", "strategy.placement=[dp, tsp]").summary
    assert across.strategy.axes == inside.strategy.axes
    received = inside.communication.received_bytes_per_rank
    assert across.communication.received_bytes_per_rank == received
    assert across.step_time > 1.2 * inside.step_time


def test_a_placement_survives_writing_and_reading() -> None:
    """The resolved scenario holds it, and is read back as equal."""
    scenario = tspsim.load("paper-1024", ["topology.nodes=2", "strategy.dp=2"])
    again = tspsim.run(scenario.document, "model.layers=1", "workload.sequence=1024").scenario
    assert scenario.document["strategy"]["placement"] == ["tsp", "dp"]
    assert scenario.document["strategy"]["bucket"] == "25 MiB"
    assert again.strategy == scenario.strategy


# ---- what `tspsim show` says -----------------------------------------------------------------


def words(strategy: str, *overrides: str) -> dict[str, str]:
    """Return what `show` says of every axis on the cluster."""
    scenario = tspsim.load("paper-1024", [f"strategy={strategy}", *overrides])
    return dict(placement.rows(placement.placed(scenario.strategy.mesh(), scenario.topology)))


def test_show_says_where_the_papers_axes_lie() -> None:
    """TSP inside a node, replicas one per node over all 128."""
    assert words("{kind: tsp, degree: 8, dp: 128}") == {
        "tsp": "8 neighbours inside one node (d0..d7)",
        "dp": "128 across as many nodes, stride 8 (d0, d8, ...)",
    }


def test_show_tells_an_axis_inside_nodes_from_one_across() -> None:
    """Also where an axis fills some devices of several nodes, or its communicators differ."""
    assert words("{kind: tp_sp, tp: 8, sp: 2, dp: 64}")["sp"] == (
        "2 across as many nodes, stride 8 (d0, d8)"
    )
    assert words("{kind: tp_sp, tp: 4, sp: 2, dp: 128}")["sp"] == (
        "2 inside one node, stride 4 (d0, d4)"
    )
    assert words("{kind: sp, degree: 16, dp: 64}")["sp"] == "16 neighbours across 2 nodes (d0..d15)"
    alone = words("{kind: tp_sp, tp: 1, sp: 4, dp: 6}", "topology.nodes=3")
    assert (alone["sp"], alone["tp"]) == ("4 neighbours inside one node (d0..d3)", "1 rank")


def test_show_counts_nodes_over_all_communicators() -> None:
    """Six ranks on nodes of eight: some communicators stay inside a node, some do not."""
    mesh = Mesh((("dp", 4), ("sp", 6)))
    topology = tspsim.load("paper-1024", ["topology.nodes=3", "strategy.dp=3"]).topology
    inner, outer = placement.placed(mesh, topology)
    assert (inner["axis"], inner["nodes"]) == ("sp", [1, 2])
    assert dict(placement.rows([inner]))["sp"] == "6 neighbours across 1 to 2 nodes (d0..d5)"
    assert (outer["axis"], outer["stride"], outer["devices"]) == ("dp", 6, [0, 6, 12, 18])


def test_show_prints_the_placement() -> None:
    """As text, one line per axis, innermost first."""
    arguments = ["show", "paper-1024", "topology.nodes=4", "strategy.dp=4"]
    lines = CliRunner().invoke(app, arguments).stdout.splitlines()
    title = lines.index("placement, innermost first")
    assert [line.split()[:3] for line in lines[title + 1 : title + 3]] == [
        ["tsp", "8", "neighbours"],
        ["dp", "4", "across"],
    ]


# ---- what does not go together ---------------------------------------------------------------


def told(strategy: str, *overrides: str) -> str:
    """Return the one line that a wrong strategy on the cluster is told."""
    with pytest.raises(ScenarioError) as caught:
        load("paper-1024", [f"strategy={strategy}", *overrides])
    (line,) = caught.value.lines
    return line.partition("': ")[2]


def test_a_mesh_that_does_not_fill_the_cluster_is_told_what_would() -> None:
    """How many replicas, or how many nodes."""
    where = "strategy.degree: makes"
    assert told("{kind: tsp, degree: 8}") == (
        f"{where} 8 ranks (tsp 8), but topology 'mi300x-128-nodes-rails' has 1024 devices: "
        "set topology.nodes=1; strategy.dp=128 would fill them"
    )
    assert told("{kind: tsp, degree: 8, dp: 256}") == (
        f"{where} 2048 ranks (dp 256 x tsp 8), but topology 'mi300x-128-nodes-rails' has 1024 "
        "devices: set topology.nodes=256; strategy.dp=128 would fill them"
    )
    assert told("{kind: sp, degree: 4}").endswith("devices: strategy.dp=256 would fill them")
    assert told("{kind: sp, degree: 16, dp: 2}", "topology.nodes=5").endswith(
        "devices: set topology.nodes=4 or other degrees"
    )


@pytest.mark.parametrize(
    ("name", "axes"),
    [
        ("paper-1024", {"tsp": 8, "dp": 128}),
        ("paper-1024-tp4-sp2", {"tp": 4, "sp": 2, "dp": 128}),
        ("paper-1024-tp2-sp4", {"tp": 2, "sp": 4, "dp": 128}),
        ("paper-1024-tp8-sp2", {"tp": 8, "sp": 2, "dp": 64}),
    ],
)
def test_the_papers_layouts_fill_its_machine(name, axes) -> None:
    """1,024 devices, model axes inside of the replicas, the same work on all."""
    scenario = tspsim.load(name)
    assert dict(reversed(scenario.strategy.mesh().axes)) == axes
    assert list(dict(reversed(scenario.strategy.mesh().axes))) == list(axes)
    assert scenario.strategy.mesh().ranks == len(scenario.topology.devices) == 1024
    assert scenario.workload == tspsim.load("paper-1024").workload
