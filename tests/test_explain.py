"""Explanations: worked out by hand on toy programs, and adding up on every shipped scenario."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner, Result

import tspsim
from tests import small_result, toy
from tests.pipelines import in_small
from tests.toy import Toy, ToyPlanner, fabric, full, roles, shared, switched
from tspsim.analysis.summary import time_of
from tspsim.cli.app import app
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.explain.call_latency import call_latency
from tspsim.explain.constants import Constant, constants
from tspsim.explain.explanation import WhatIf, bottlenecks, explain
from tspsim.explain.exposed import causes
from tspsim.explain.knee import Knee, find_knee
from tspsim.explain.links import used_classes
from tspsim.explain.path import walk
from tspsim.explain.pieces import CriticalPath
from tspsim.explain.remedies import candidates, possible
from tspsim.explain.replay import Replay
from tspsim.explain.report import to_dict
from tspsim.explain.whatif import FACTORS, sensitivities
from tspsim.memory import MemoryTrace, trace
from tspsim.mesh import Mesh
from tspsim.program.types import BUFFER_KINDS, Programs
from tspsim.reports.explanation import sentence
from tspsim.reports.tornado import tornado
from tspsim.reports.what_if import remedies as remedies_shown
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol

SCENARIOS = sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))


def path_of(timeline: Timeline, topology: Topology) -> CriticalPath:
    """Return the critical path of a toy timeline."""
    return walk(timeline, topology, "bf16", ToyPlanner(topology))


def told(path: CriticalPath) -> list[str]:
    """Return a path as text, one line per piece: rank, op, limit, times, edge."""
    return [f"{p.rank} {p.op.label} {p.limit} {p.start:g}-{p.end:g} {p.edge}" for p in path.pieces]


def run(programs: Programs, topology: Topology) -> tuple[Timeline, CriticalPath]:
    """Play a toy program; return its timeline and its critical path."""
    timeline = toy.run(programs, topology)
    return timeline, path_of(timeline, topology)


# ---- the critical path ---------------------------------------------------------------------------


@pytest.mark.parametrize("file", SCENARIOS, ids=lambda p: p.stem)
def test_the_critical_path_adds_up_to_the_step_time_on_every_shipped_scenario(file: Path) -> None:
    """To the last bit; no piece overlaps, every sum of it and the exposed communication as well."""
    result = tspsim.run(file, "model.layers=2", *in_small(file))
    found = to_dict(explain(result, what_if=False))
    path, step = found["critical_path"], found["step_time"]
    assert path["total"] == step == result.timeline.step_time > 0
    for name in ("resource", "limit", "kind", "phase", "layer", "link", "rank"):
        assert sum(path[f"by_{name}"].values()) == pytest.approx(step, rel=1e-12)
    assert found["why"]["total"] == pytest.approx(step, rel=1e-9)
    assert min(part["seconds"] for part in found["why"]["parts"]) > -1e-12 * step
    exposed = found["exposed_communication"]
    assert exposed["total"] == result.summary.time.exposed_communication
    assert sum(c["seconds"] for c in exposed["causes"]) == pytest.approx(
        exposed["total"], rel=1e-12, abs=1e-12 * step
    )
    memory = found["memory"]
    beside = sum(size for kind, size in memory["by_kind"].items() if kind not in BUFFER_KINDS)
    assert sum(memory["by_layer"].values()) + beside == memory["peak"]
    assert sum(b["bytes"] for b in memory["buffers"]) + beside == memory["peak"]


def test_a_path_goes_over_the_last_member_of_a_collective() -> None:
    """3 s here, 5 s there, 8 bytes gathered in 4 s, 1 s more."""
    program = Toy()
    first = program.compute([3, 5])
    gathered = program.communicate("all_gather", 8, after=[first])
    program.compute(1, after=[gathered])
    timeline, path = run(shared(program, 2), full(2))
    assert told(path) == [
        "1 compute0 compute 0-5 start",
        "1 all_gather1 arrival 5-5 issue order",
        "0 all_gather1 transfer 5-9 rendezvous",
        "0 compute2 compute 9-10 slot",
    ]
    assert path.total == timeline.step_time == 10
    assert path.by(lambda p: p.rank) == {0: 5, 1: 5}


def test_edges_say_why_a_task_waited() -> None:
    """Data is read, a place is filled again, a lane is in order, or compute was issued before."""
    program = Toy()
    one, two = program.buffer(1), program.buffer(1)
    written = program.compute(1, writes=[one])
    sent = program.communicate("all_gather", 2, after=[written], reads=[one], writes=[two])
    read = program.compute(1, after=[sent], reads=[two])
    again = program.communicate("all_gather", 2, after=[read], writes=[two])
    behind = program.compute(5)
    program.communicate("all_gather", 2, after=[behind])
    program.communicate("all_gather", 2)
    _, path = run(shared(program, 2), full(2))
    assert [p.edge for p in path.pieces] == [
        "start", "data", "data", "program order", "issue order", "program order",
    ]  # fmt: skip
    _, path = run(shared(_cut(program, again + 1), 2), full(2))
    assert [p.edge for p in path.pieces] == ["start", "data", "data", "slot"]
    assert path.edges() == {"data": 2, "slot": 1}


def _cut(program: Toy, count: int) -> Toy:
    program.ops, program.waits = program.ops[:count], program.waits[:count]
    return program


def test_a_transfer_is_split_into_latency_its_own_time_and_contention() -> None:
    """Two hops of 2 bytes share a link: 2 s alone, 2 s more because of the other."""
    program = Toy()
    program.shift(2, "a")
    program.shift(2, "b")
    timeline, path = run(shared(program, 2), full(2, latency=0.5))
    assert timeline.step_time == 4.5
    assert path.by(lambda p: p.limit) == {"transfer": 2, "contention": 2, "latency": 0.5}
    named = bottlenecks(path, full(2, latency=0.5))
    assert [tuple(b) for b in named] == [("link d0→d1", 4.0), ("latency", 0.5)]


def test_a_hop_waits_for_its_own_partner_only() -> None:
    """Of four ranks one is late: the path goes over it to its neighbour, not beyond."""
    program = Toy()
    first = program.compute([1, 1, 7, 1])
    hop = program.shift(2, after=[first])
    program.compute([1, 9, 1, 1], after=[hop])
    timeline, path = run(shared(program, 4), full(4))
    assert told(path) == [
        "2 compute0 compute 0-7 start",
        "2 shift1 arrival 7-7 issue order",
        "1 shift1 transfer 7-9 rendezvous",
        "1 compute2 compute 9-18 slot",
    ]
    assert path.total == timeline.step_time


def test_compute_is_split_into_flops_or_memory_and_launch() -> None:
    """A device that reads 1 byte/s and needs 0.25 s to launch an op."""
    program = Toy()
    program.compute(3)
    busy = program.ops[0].work
    program.ops[0] = program.ops[0]._replace(work=busy._replace(bytes=5))  # type: ignore[union-attr]
    program.compute(2)
    topology = full(1)
    slow = replace(topology.devices[0], launch=0.25)
    _, path = run(shared(program, 1), replace(topology, devices=(slow,)))
    assert [(p.limit, p.end - p.start) for p in path.pieces] == [
        ("memory", 5), ("launch", 0.25), ("compute", 2), ("launch", 0.25),
    ]  # fmt: skip


def test_compute_that_communication_slows_down_says_so() -> None:
    """At half its speed for the 4 s of a transfer, 6 s of compute take 8."""
    program = Toy()
    program.communicate("all_gather", 8)
    program.compute(6)
    timeline, path = run(shared(program, 2), full(2, interference=0.5))
    assert timeline.step_time == 8
    assert path.by(lambda p: p.limit) == {"compute": 6, "interference": 2}


def test_ranks_of_different_programs_are_followed() -> None:
    """The k-th call of a communicator meets the k-th, whatever its place in a program."""
    left, right = Toy(), Toy()
    left.communicate("all_gather", 2)
    left.communicate("all_gather", 4)
    right.compute(2)
    right.communicate("all_gather", 2, after=[0])
    late = right.compute(9)
    right.communicate("all_gather", 4, after=[late])
    timeline, path = run(roles(left, right), full(2))
    assert told(path) == [
        "1 compute0 compute 0-2 start",
        "1 compute2 compute 2-11 program order",
        "1 all_gather3 arrival 11-11 issue order",
        "0 all_gather1 transfer 11-13 rendezvous",
    ]
    assert path.total == timeline.step_time == 13


def test_the_path_is_a_graph_with_typed_edges() -> None:
    """The longest path through it is the whole of it."""
    result = small_result.real()
    path = explain(result, what_if=False).path
    graph = path.graph()
    assert nx.is_directed_acyclic_graph(graph)
    first = path.pieces[0]
    longest = nx.dag_longest_path_length(graph) + first.end - first.start
    assert longest == pytest.approx(result.timeline.step_time, rel=1e-12)
    kinds = {kind for _, _, kind in graph.edges(data="kind")}
    assert {"program order", "data", "same task"} <= kinds


def test_an_empty_program_has_an_empty_path() -> None:
    """Nothing ends, so nothing is explained."""
    _, path = run(shared(Toy(), 2), full(2))
    assert (path.pieces, path.total) == ((), 0.0)


@st.composite
def programs(draw: st.DrawFn) -> Toy:
    """Return a program with compute, collectives and shifts that wait for each other at random."""
    program = Toy()
    for index in range(draw(st.integers(1, 12))):
        after = draw(st.sets(st.integers(0, index - 1), max_size=3)) if index else set()
        size = draw(st.integers(0, 5))
        match draw(st.integers(0, 2)):
            case 0:
                program.compute([draw(st.integers(0, 9)) * 0.1 for _ in range(3)], after)
            case 1:
                program.communicate("all_gather", size, draw(st.sampled_from("ab")), after)
            case _:
                program.shift(size, draw(st.sampled_from("cd")), after, draw(st.integers(0, 2)))
    return program


@settings(deadline=None, max_examples=150)
@given(programs(), st.sampled_from([0.0, 0.3]), st.sampled_from([1.0, 0.6]), st.booleans())
def test_any_path_telescopes_and_any_exposed_communication_has_a_cause(
    program: Toy, latency: float, interference: float, one_port: bool
) -> None:
    """Pieces follow each other to the last bit; causes add up to the figure of the table."""
    topology = switched(3, 1.7, latency) if one_port else full(3, 1.7, latency, interference)
    timeline, path = run(shared(program, 3), topology)
    assert path.total == timeline.step_time
    if path.pieces:
        assert (path.pieces[0].start, path.pieces[0].edge) == (0.0, "start")
        assert all(a.end == b.start for a, b in pairwise(path.pieces))
    rank = timeline.slowest_rank
    found = sum(cause.seconds for cause in causes(timeline, rank))
    expected = time_of(timeline, rank).exposed_communication
    assert found == pytest.approx(expected, abs=1e-11 * (1 + timeline.step_time))


def test_the_path_is_the_derivative_of_the_step_time() -> None:
    """What a constant limits on the path is what a millionth of it changes, found by playing.

    TP has no two transfers at once, so nothing contends and the step is smooth.
    """
    result = small_result.real("tp")
    topology, replay = result.scenario.topology, Replay.of(result)
    limits = explain(result, what_if=False).path.by(lambda piece: piece.limit)
    signs = {
        "flop_rate": -limits["compute"], "memory_bandwidth": -limits["memory"],
        "link_bandwidth": -limits["transfer"], "link_latency": limits["latency"],
    }  # fmt: skip
    known = {c.key: c for c in constants(result.timeline, topology, "bf16")}
    for key, expected in signs.items():
        up, down = (replay.step_time(known[key].scaled(topology, f)) for f in (1 + 1e-6, 1 - 1e-6))
        assert (up - down) / 2e-6 == pytest.approx(expected, rel=1e-6, abs=1e-12)


# ---- exposed communication -----------------------------------------------------------------------


def test_exposed_communication_is_put_down_to_what_compute_waits_for() -> None:
    """Of two gathers the later one; a prefetch that goes on only for what it has alone."""
    program = Toy()
    program.communicate("all_gather", 20, "far")  # 0-10 s, awaited by nobody
    first = program.communicate("all_gather", 4, "near")  # 0-2 s
    second = program.communicate("all_gather", 8, "next")  # 0-4 s
    program.compute(1, after=[first])  # 2-3 s
    program.compute(1, after=[second])  # 4-5 s
    topology = fabric([("d0", "d1"), ("d1", "d0")], 2, bandwidth=100.0)

    class Apart(ToyPlanner):
        """Messages that do not share a link: slow by themselves."""

        def choose(self, kind: Any, size: int, ranks: Any, root: Any) -> Any:
            plan = super().choose(kind, size, ranks, root)
            return replace(plan, efficiency=0.01, held=0.01)

    timeline = simulate(
        Setup(shared(program, 2), Mesh((("tsp", 2),)), topology, "bf16"), Apart(topology)
    )
    assert timeline.step_time == pytest.approx(10)
    found = {cause.lane: cause.seconds for cause in causes(timeline, 0)}
    # 0-2 near, 3-4 next, 5-10 the far one alone
    assert found == pytest.approx({"tsp/near": 2, "tsp/next": 1, "tsp/far": 5})


# ---- what if -------------------------------------------------------------------------------------


def replay_of(programs: Programs, topology: Topology) -> Replay:
    """Return the replay of a toy program."""

    def play(changed: Topology) -> tuple[Timeline, MemoryTrace]:
        timeline = toy.run(programs, changed)
        return timeline, trace(timeline)

    return Replay(*play(topology), play)


def scaled(programs: Programs, topology: Topology) -> dict[str, tuple[list[float], float]]:
    """Return step times by factor, and elasticity, by constant."""
    timeline = toy.run(programs, topology)
    known = constants(timeline, topology, "bf16")
    found = sensitivities(replay_of(programs, topology), topology, known)
    return {s.constant.key: ([o.step_time for _, o in s.replays], s.elasticity) for s in found}


def test_a_compute_bound_step_scales_with_the_flop_rate_and_nothing_else() -> None:
    """T = work / rate, exactly: elasticity -1 between 0.9 and 1.1 of it is -1 / 0.99."""
    program = Toy()
    program.compute(6)
    program.communicate("all_gather", 2)
    found = scaled(shared(program, 2), full(2))
    times, elasticity = found.pop("flop_rate")
    assert times == pytest.approx([6 / factor for factor in FACTORS], rel=1e-12)
    assert elasticity == pytest.approx(-1 / 0.99)
    assert {key: set(times) for key, (times, _) in found.items()} == {
        "memory_bandwidth": {6.0}, "link_bandwidth": {6.0}, "memory": {6.0},
    }  # fmt: skip


def test_a_link_bound_step_scales_with_bandwidth_and_latency() -> None:
    """T = latency + size / bandwidth."""
    program = Toy()
    program.shift(4)
    found = scaled(shared(program, 2), full(2, bandwidth=2.0, latency=0.5))
    assert found["link_bandwidth"][0] == pytest.approx([0.5 + 2 / f for f in FACTORS])
    assert found["link_latency"][0] == pytest.approx([2 + 0.5 * f for f in FACTORS])
    assert found["link_latency"][1] == pytest.approx(0.5 / 2.5)
    assert set(found["flop_rate"][0]) == {2.5}


def test_links_of_several_classes_are_changed_apart() -> None:
    """Each has its own effect; the class with the busiest link comes first."""
    program = Toy()
    program.shift(4)
    topology = full(3)
    links = tuple(
        replace(link, bandwidth=4.0 if link.source == "d1" else 2.0 if link.source == "d0" else 1.0)
        for link in topology.links
    )
    found = scaled(shared(program, 3), replace(topology, links=links))
    assert set(found) == {
        "flop_rate", "memory_bandwidth", "memory",
        "link_bandwidth:0", "link_bandwidth:1", "link_bandwidth:2",
    }  # fmt: skip
    assert found["link_bandwidth:0"][0] == pytest.approx([4 / 0.9, 4 / 1.1, 2])
    assert set(found["link_bandwidth:1"][0]) == {4.0}


def test_of_many_classes_of_links_the_busiest_are_changed() -> None:
    """The others are counted, and links that carry nothing are no class in use."""
    program = Toy()
    program.shift(4)
    topology = full(6)
    links = tuple(replace(link, bandwidth=1.0 + int(link.source[1:])) for link in topology.links)
    topology = replace(topology, links=links)
    timeline = toy.run(shared(program, 6), topology)
    assert [kind.value for kind in used_classes(timeline, topology)] == [1, 2, 3, 4, 5, 6]
    known = constants(timeline, topology, "bf16")
    assert [c.value for c in known if c.key.startswith("link_bandwidth")] == [1, 2, 3, 4]
    alone = toy.run(shared(_cut(program, 0), 6), topology)
    assert used_classes(alone, topology) == []


def test_more_memory_changes_what_is_left_and_no_time() -> None:
    """The peak stays; headroom grows by all of it."""
    program = Toy()
    program.compute(1, writes=[program.buffer(100)])
    topology = full(2)
    replay = replay_of(shared(program, 2), topology)
    known = {c.key: c for c in constants(toy.run(shared(program, 2), topology), topology, "bf16")}
    (found,) = sensitivities(replay, topology, [known["memory"]])
    assert [o.peak for _, o in found.replays] == [100] * 3
    assert [o.headroom for _, o in found.replays] == pytest.approx([800, 1000, 1900])


@pytest.mark.parametrize("detail", ["coflow", "steps"])
def test_the_latency_of_a_call_is_that_of_the_calls_made(detail: str) -> None:
    """Four members pay 2 s and 1 s for every other; what no call of theirs uses counts nothing."""
    ways = Protocol(2.0, per_member=1.0), Protocol(1e3, network=True)
    ways += (Protocol(500.0, collective="all_to_all"), Protocol(100.0, first=1e15))
    result = tspsim.run(small_result.real("tp").scenario, f"network.detail={detail}")
    topology = result.scenario.topology
    changed = replace(topology, profile=replace(topology.profile, protocols=ways))
    assert call_latency(result.timeline, topology) == 0
    assert call_latency(result.timeline, changed) == pytest.approx(5.0)


def knee_of(compute: float, size: int, bandwidth: float, latency: float = 0.0) -> Knee:
    """Return the knee of a hop beside compute, found nearly exactly."""
    program = Toy()
    program.compute(compute)
    program.shift(size)
    topology = full(2, bandwidth, latency)
    replay = replay_of(shared(program, 2), topology)
    known = constants(toy.run(shared(program, 2), topology), topology, "bf16")
    link: Constant = next(c for c in known if c.key == "link_bandwidth")
    return find_knee(replay, topology, link, nothing=0.01, precision=1e-9)


@pytest.mark.parametrize("bandwidth", [0.1, 1.0, 3.0, 100.0])
def test_bisection_finds_where_a_transfer_disappears_behind_compute(bandwidth: float) -> None:
    """T = max(compute, latency + size / b): b = size / (1.01 compute - latency), from anywhere."""
    knee = knee_of(6.0, 9, bandwidth, latency=1.0)
    assert knee.bandwidth == pytest.approx(9 / (1.01 * 6 - 1), rel=1e-6)
    assert knee.limit == pytest.approx(6)
    assert knee.gain == pytest.approx(max(6, 1 + 9 / bandwidth) / 6)


def test_links_that_never_or_always_matter_have_no_knee() -> None:
    """Beside endless compute they could be ever slower; without compute or latency, ever faster."""
    assert knee_of(1e9, 1, 1.0).bandwidth is None
    assert knee_of(0, 1, 1.0).bandwidth is None


def test_a_change_of_a_constant_is_what_a_scenario_with_it_gives() -> None:
    """Replayed programs and a fresh run of the changed scenario agree to the last bit."""
    result = small_result.real()
    fresh = tspsim.run(result.scenario, "topology.link.bandwidth=100 GB/s")
    found = explain(result).what_if
    assert found is not None
    bandwidth = next(s for s in found.sensitivities if s.constant.key == "link_bandwidth")
    assert bandwidth.at(2.0).step_time == fresh.summary.step_time
    assert bandwidth.at(2.0).peak == fresh.summary.memory.peak


# ---- memory --------------------------------------------------------------------------------------

TRAIN = (
    "workload.recompute=none", "workload.batch=2", "strategy.lookahead=2", "strategy.slots=3",
    "strategy.keep_gathered_kv=true",
)  # fmt: skip


def test_the_change_that_lowers_the_peak_most_is_what_a_run_with_it_gives() -> None:
    """Every change that is named can be run, and the first one is the lowest."""
    result = tspsim.run(small_result.real().scenario, *TRAIN)
    found = explain(result).what_if
    assert found is not None
    named = {" ".join(remedy.overrides) for remedy in found.remedies}
    assert named == {
        "workload.recompute=selective", "workload.recompute=full", "strategy.lookahead=0",
        "workload.batch=1 workload.micro_batches=2", "workload.logits_chunks=4",
        "strategy.slots=2", "strategy.keep_gathered_kv=false",
    }  # fmt: skip
    best = found.remedies[0]
    again = tspsim.run(result.scenario, *best.overrides)
    assert best.replayed.peak == again.summary.memory.peak < result.summary.memory.peak
    assert best.replayed.step_time == again.summary.step_time
    assert best.replayed.peak == min(remedy.replayed.peak for remedy in found.remedies)


def test_less_recomputation_is_tried_and_what_is_quicker_and_fits_is_said() -> None:
    """Its time is that of a run; on a device that is too small for it nothing is said of it."""
    full, less = "workload.recompute=full", "workload.recompute=none"
    result = tspsim.run(small_result.real().scenario, "workload.phase=train", full)
    found = explain(result).what_if
    assert found is not None
    taken = {" ".join(remedy.overrides): remedy.replayed for remedy in found.remedies}
    assert taken[less].step_time == tspsim.run(result.scenario, less).summary.step_time
    assert taken[less].step_time < found.base.step_time
    assert f"quickest that fits: {less}: " in shown(found)
    fitting = [each._replace(replayed=each.replayed._replace(headroom=-1.0))
               for each in found.remedies]  # fmt: skip
    assert "quickest" not in shown(replace(found, remedies=tuple(fitting)))


def shown(found: WhatIf) -> str:
    """Return what is said of other settings."""
    return "\n".join(getattr(each, "plain", "") for each in remedies_shown(found))


@pytest.mark.parametrize("kind", ["tsp", "tp", "sp", "tp_sp"])
def test_only_changes_that_a_strategy_allows_are_tried(kind: str) -> None:
    """Each is a scenario of the same strategy, tokens and degrees."""
    scenario = small_result.real(kind).scenario
    changed = [after for _, after in possible(scenario, candidates)]
    assert changed
    for after in changed:
        assert after.workload.tokens == scenario.workload.tokens
        assert after.strategy.mesh() == scenario.strategy.mesh()
        assert after.document != scenario.document


# ---- the command ---------------------------------------------------------------------------------


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, ["explain", *arguments])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a result."""
    return small_result.real().save(tmp_path_factory.mktemp("explain") / "result")


def test_a_folder_is_explained_and_the_tornado_drawn(folder: Path, tmp_path: Path) -> None:
    """Table on stdout, a picture where it is asked for, the answer on the first line."""
    picture = tmp_path / "tornado.png"
    result = call(str(folder), "-o", str(picture))
    assert (result.exit_code, result.stderr) == (0, f"wrote {picture}\n")
    assert picture.read_bytes().startswith(b"\x89PNG")
    first = " ".join(result.stdout.split("\n\n")[0].split())
    gains = r"(twice the [a-z ]+ gives [\d.]+x(, )?){3}"
    time = r"[\d.]+ ms \(error unknown\)"
    assert re.fullmatch(rf"{time}: [\d.]+ % .*\. The bottleneck is .*: {gains}\.", first)
    assert all(len(line) <= 80 for line in result.stdout.splitlines())


def test_json_has_the_sums_and_the_outcomes(folder: Path) -> None:
    """The keys that other programs rely on."""
    found = json.loads(call(str(folder), "--json").stdout)
    assert found["critical_path"]["total"] == found["step_time"]
    resource = found["bottleneck"]["resource"]
    assert found["bottleneck"]["seconds"] == max(found["critical_path"]["by_resource"].values())
    assert resource in found["critical_path"]["by_resource"]
    assert {"constant", "value", "unit", "on", "elasticity", "times"} == set(
        found["what_if"]["constants"][0]
    )
    assert set(found["what_if"]["constants"][0]["times"]) == {"0.9", "1.1", "2"}
    assert found["what_if"]["base"]["step_time"] == found["step_time"]
    assert found["what_if"]["knee"]["constant"] == "link_bandwidth"


def test_quick_simulates_nothing_more(folder: Path) -> None:
    """No what-if in the output, and overrides count."""
    found = json.loads(call(str(folder), "strategy.slots=3", "--quick", "--json").stdout)
    assert found["what_if"] is None
    again = tspsim.run(folder / "result.json", "strategy.slots=3")
    assert found["step_time"] == again.summary.step_time


def test_mistakes_are_told_before_anything_is_simulated(folder: Path, tmp_path: Path) -> None:
    """A folder without a result, a picture of no format, a picture of nothing."""
    empty = tmp_path / "empty"
    empty.mkdir()
    cases = [
        ((str(empty),), f"{empty}/result.json: there is none; 'tspsim run SCENARIO -o DIR' makes"),
        ((str(folder), "-o", "a.gif"), "a.gif: pictures are .png, .svg, .pdf, .html, not '.gif'"),
        ((str(folder), "-o", "a.png", "--quick"), "-o draws what the what-if finds, and --quick"),
        (("slow-lnk",), "found no file 'slow-lnk' (did you mean 'slow-link'?)"),
    ]
    for arguments, message in cases:
        result = call(*arguments)
        assert (result.exit_code, result.stdout) == (2, "")
        assert result.stderr.startswith(message)


def test_the_tornado_shows_what_was_simulated() -> None:
    """A bar per constant and factor, as long as the change, the largest on top."""
    explanation = explain(small_result.real())
    found = explanation.what_if
    assert found is not None
    drawn = tornado(found, "toy")
    shown = [s for s in found.sensitivities if s.constant.key != "memory"]
    for number, container in enumerate(drawn.containers):
        widths = [bar.get_width() for bar in container]  # type: ignore[attr-defined]
        expected = [
            100 * (s.replays[number][1].step_time / found.base.step_time - 1) for s in shown
        ]
        assert widths == pytest.approx(expected)
    assert drawn.yaxis_inverted()
    assert drawn.get_yticklabels()[0].get_text().splitlines()[0] in sentence(explanation)
