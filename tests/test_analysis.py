"""The figures of a run, worked out by hand on toy programs."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any, cast

import pytest

from tests import toy
from tests.toy import Toy, full, shared
from tspsim.analysis.summary import Summary, TimeFigures, summarize, time_of
from tspsim.engine.timeline import Timeline
from tspsim.memory import trace
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.scenario.types import Scenario
from tspsim.topology.graph import Topology

MODEL = ModelShape(hidden=4, layers=1, heads=2, kv_heads=2, ffn=8)


class Strategy:
    """Stands for the options of a strategy, of which the summary shows the kind."""

    kind = "tsp"
    pp = None

    def mesh(self) -> Mesh:
        """Return two ranks."""
        return Mesh((("tsp", 2),))


def scenario(topology: Topology, phase: str = "train") -> Scenario:
    """Return a scenario of 16 tokens on a topology."""
    workload = Workload(sequence=8, batch=2, phase=cast(Any, phase), causal="off")
    strategy = cast(Any, Strategy())
    return Scenario.resolved(
        name="toy", path=None, model=MODEL, workload=workload, optimizer=Optimizer(),
        strategy=strategy, topology=topology, algorithm="auto", document={},
    )  # fmt: skip


def summary(timeline: Timeline, topology: Topology) -> Summary:
    """Return the summary of a timeline."""
    return summarize(scenario(topology), timeline, trace(timeline))


def test_time_of_a_rank_is_compute_exposed_communication_and_idle() -> None:
    """Hidden communication counts as compute, waiting for others as idle."""
    program = Toy()
    hidden = program.communicate("all_gather", 4, "a")  # 0-2 s, under the compute
    late = program.compute([3, 5])
    exposed = program.communicate("all_gather", 8, "b", after=[late, hidden])  # 5-9 s
    program.compute(1, after=[exposed])
    timeline = toy.run(shared(program, 2), full(2))
    assert time_of(timeline, 0) == TimeFigures(4, 4, 2)
    assert time_of(timeline, 1) == TimeFigures(6, 4, 0)


def test_parts_of_the_time_add_up_to_the_step_time() -> None:
    """Also with fractions, partial overlap, and several communicators at once."""
    program = Toy()
    for i in range(20):
        program.compute([0.1 * (i % 7) + 0.013 * rank for rank in range(4)])
        program.shift(1 + i % 3, "ring", after=[3 * i] if i % 2 else ())
        program.communicate("all_gather", 2 + i % 5, "kv", after=[3 * i] if i % 3 else ())
    topology = full(4, bandwidth=3.0, latency=0.01)
    found = summary(toy.run(shared(program, 4), topology), topology)
    parts = (found.time.compute, found.time.exposed_communication, found.time.idle)
    assert min(parts) >= 0
    assert sum(parts) == pytest.approx(found.step_time, rel=1e-12)


def test_slowest_rank_is_the_one_that_is_shown() -> None:
    """Time, flops and traffic belong to the rank that ends last."""
    program = Toy()
    program.compute([1, 2, 7, 3])
    topology = full(4)
    found = summary(toy.run(shared(program, 4), topology), topology)
    assert found.step_time == 7
    assert found.flops_per_rank == 7
    assert found.time == TimeFigures(7, 0, 0)


def test_received_bytes_follow_the_conventions_of_each_collective() -> None:
    """(n-1)/n of a gather, twice that of an all_reduce, all of a shift; nothing among one."""
    program = Toy()
    program.communicate("all_gather", 8, "a")
    program.communicate("all_reduce", 8, "a")
    program.communicate("all_reduce", 8, "pairs", group=2)
    program.communicate("all_reduce", 8, "alone", group=1)
    program.shift(5, "ring")
    topology = full(4)
    found = summary(toy.run(shared(program, 4), topology), topology).communication
    assert found.by_op == {"all_gather": 6, "all_reduce": 12 + 8, "shift": 5}
    assert found.received_bytes_per_rank == 31


def test_utilisation_counts_model_flops_and_executed_flops() -> None:
    """MFU takes the model's flops, HFU what the programs do, both of what all devices could."""
    program = Toy()
    program.compute([100, 400])
    topology = full(2)
    timeline = toy.run(shared(program, 2), topology)
    found = summary(timeline, topology)
    # 2 flops x 16 tokens x (4 * 4*4 + 3 * 4*8 weights), and 4 x 64 pairs x 4 wide x 2 sequences
    forward = 2 * 16 * (64 + 96) + 4 * 64 * 4 * 2
    assert found.mfu == pytest.approx(3 * forward / (400 * 2))
    assert found.hfu == pytest.approx(500 / 800)
    only_forward = summarize(scenario(topology, "forward"), timeline, trace(timeline))
    assert only_forward.mfu == pytest.approx(forward / 800)
    assert found.tokens_per_second == pytest.approx(16 / 400)
    assert found.tokens_per_second_per_device == pytest.approx(16 / 800)


def test_peak_memory_includes_what_the_runtime_reserves() -> None:
    """The parts at the peak add up to the peak, and the peak decides whether it fits."""
    program = Toy()
    program.buffer(700, "weight", resident=True)
    program.compute(1, writes=[program.buffer(200)])
    topology = full(2)
    timeline = toy.run(shared(program, 2), topology)
    for reserved, fits in ((0.0, True), (100.0, True), (101.0, False)):
        device = replace(toy.DEVICE, reserved=reserved)
        found = summary(timeline, replace(topology, devices=(device,) * 2)).memory
        assert (found.capacity, found.peak, found.fits) == (1000, 900 + reserved, fits)
        assert found.at_peak["reserved"] == reserved
        assert sum(found.at_peak.values()) == found.peak


def test_peak_memory_includes_what_libraries_hold() -> None:
    """A workspace for every thread that multiplies, buffers for every communicator."""
    program = Toy()
    buffer = program.buffer(200)
    program.compute(1, writes=[buffer])
    program.communicate("all_reduce", 8, after=[0], reads=[buffer])
    topology = full(2)
    timeline = toy.run(shared(program, 2), topology)
    device = replace(toy.DEVICE, blas=50.0, communicator=30.0)
    found = summary(timeline, replace(topology, devices=(device,) * 2)).memory
    assert found.peak == sum(found.at_peak.values()) == 200 + 50 + 30
    assert (found.at_peak["blas"], found.at_peak["communicators"]) == (50, 30)
    full_up = replace(device, communicator=751.0)
    assert not summary(timeline, replace(topology, devices=(full_up,) * 2)).memory.fits


def test_smallest_device_decides_whether_it_fits() -> None:
    """Peak and capacity are those of the rank with the least room left."""
    program = Toy()
    program.compute(1, writes=[program.buffer(500)])
    topology = full(2)
    small = replace(toy.DEVICE, memory=400.0)
    uneven = replace(topology, devices=(toy.DEVICE, small))
    found = summary(toy.run(shared(program, 2), uneven), uneven).memory
    assert (found.peak_rank, found.capacity, found.fits) == (1, 400, False)


def test_keys_of_the_json_are_fixed() -> None:
    """People parse them: more may be added, none renamed."""
    program = Toy()
    program.compute(1)
    topology = full(1)
    timeline = toy.run(shared(program, 1), topology)
    found = summarize(scenario(topology), timeline, trace(timeline), wall_seconds=0.5).to_dict()
    assert json.loads(json.dumps(found)) == found
    assert {key: sorted(v) for key, v in found.items() if isinstance(v, dict)} == {
        "strategy": ["axes", "kind"],
        "time": ["compute", "exposed_communication", "idle"],
        "communication": ["algorithms", "as_stated", "by_op", "received_bytes_per_rank"],
        "memory": ["at_peak", "capacity", "fits", "peak", "peak_rank", "peak_time"],
        "engine": ["folded", "tasks", "wall_seconds"],
        "profile": ["error", "name"],
    }
    assert {key for key, v in found.items() if not isinstance(v, dict)} == {
        "scenario",
        "ranks",
        "step_time",
        "interval",
        "tokens_per_second",
        "tokens_per_second_per_device",
        "mfu",
        "hfu",
        "flops_per_rank",
    }
    assert found["strategy"] == {"kind": "tsp", "axes": {"tsp": 1}}
    assert found["engine"] == {"tasks": 1, "wall_seconds": 0.5, "folded": {}}


def test_step_without_time_has_no_utilisation() -> None:
    """Nothing to divide by."""
    topology = full(1)
    found = summary(toy.run(shared(Toy(), 1), topology), topology)
    assert (found.step_time, found.mfu, found.hfu, found.tokens_per_second) == (0, None, None, 0)
