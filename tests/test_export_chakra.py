"""Chakra's execution traces: a graph that other programs can play, and that gives our time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import tspsim
from tests import execution_traces as et
from tests import small_result
from tests.execution_traces import COLLECTIVE, COMP, RECEIVE, SEND, Node, Replay
from tspsim.cli.app import app
from tspsim.output import exporting
from tspsim.output.chakra import reading
from tspsim.output.chakra.schema import KNOWN, PROTO, described, messages
from tspsim.program.by_rank import received

#: Rows of experts are exchanged, stages send and receive, replicas sum up; some ranks are folded.
STAGED: dict[str, Any] = {
    "name": "staged-experts",
    "model": {"hidden": 64, "layers": 4, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256,
              "experts": {"count": 8, "active": 2, "width": 64}},
    "workload": {"sequence": 64, "micro_batches": 4},
    "topology": {"kind": "full", "ranks": 8, "device": "h100-sxm",
                 "link": {"bandwidth": "50 GB/s", "latency": "1 us"}},
    "strategy": {"kind": "tsp", "degree": 2, "dp": 2,
                 "pp": {"stages": 2, "schedule": "1f1b"}, "experts": {"layout": "tokens"}},
}  # fmt: skip


def on_a_ring(kind: str, gigabytes: int = 50, **options: Any) -> dict[str, Any]:
    """Return layers on an equal ring of four, whose hops take no longer than what hides them."""
    return {
        "name": f"ring-{kind}",
        "model": {"hidden": 1024, "layers": 2, "heads": 8, "ffn": 4096, "vocab": 0},
        "workload": {"sequence": 262144, "phase": "forward"},
        "topology": {"kind": "ring", "ranks": 4, "device": "mi300x",
                     "link": {"bandwidth": f"{gigabytes} GB/s", "latency": "500 ns"}},
        "network": {"algorithm": "ring"},
        "strategy": {"kind": kind, "degree": 4, **options},
        "kernels": "ideal",
        "timing": {"profile": "datasheet"},
    }  # fmt: skip


class Exported:
    """A run, and what it was written as."""

    def __init__(self, result: tspsim.Result, folder: Path) -> None:
        self.result, self.folder = result, folder
        exporting.write("chakra", result, folder)
        count = result.timeline.mesh.ranks
        self.ranks = [et.nodes(folder / f"chakra.{rank}.et") for rank in range(count)]
        self.groups = json.loads((folder / "chakra.groups.json").read_text())

    def all(self, *kinds: int) -> list[tuple[int, Node]]:
        """Return the nodes of some types, each with its rank."""
        return [(r, node) for r, found in enumerate(self.ranks) for node in found
                if node.type in kinds]  # fmt: skip


@pytest.fixture(scope="module", params=["tsp", "tp", "staged"])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """Training: a TSP step, a TP step, and a pipeline with experts."""
    name = request.param
    result = tspsim.run(STAGED) if name == "staged" else small_result.real(name)
    return Exported(result, tmp_path_factory.mktemp("traces") / name)


def test_every_rank_has_a_file_and_every_op_a_node(exported: Exported) -> None:
    """Folded ranks too; of a hop of a shift there are two."""
    timeline = exported.result.timeline
    for rank, found in enumerate(exported.ranks):
        ops = timeline.programs.of(rank).ops
        shifts = sum(op.message is not None and op.message.collective == "shift" for op in ops)
        assert len(found) == len(ops) + shifts
    assert len(list(exported.folder.iterdir())) == timeline.mesh.ranks + 1


def test_ids_are_unique_and_nodes_wait_for_earlier_ones_alone(exported: Exported) -> None:
    """So every graph is free of circles, and nothing waits for what is not there."""
    for found in exported.ranks:
        seen: set[int] = set()
        for node in found:
            assert node.id not in seen
            assert set(node.deps) <= seen
            seen.add(node.id)


def test_every_send_is_received_with_the_same_tag_and_size(exported: Exported) -> None:
    """Over all ranks; a rank sends as itself, and receives as itself."""
    ends: dict[int, Counter[tuple[int, ...]]] = {SEND: Counter(), RECEIVE: Counter()}
    for rank, node in exported.all(SEND, RECEIVE):
        said = node.said
        ends[node.type][
            said["comm_src"], said["comm_dst"], said["comm_tag"], said["comm_size"]
        ] += 1
        assert rank == said["comm_src" if node.type == SEND else "comm_dst"]
        assert said["comm_src"] != said["comm_dst"]
    assert ends[SEND] == ends[RECEIVE]
    assert set(ends[SEND].values()) <= {1}


def test_who_waits_for_a_hop_waits_for_both_its_ends(exported: Exported) -> None:
    """For what it sends, whose place may be used again, and for what it receives."""
    hops = 0
    for found in exported.ranks:
        received = {node.id for node in found if node.type == RECEIVE}
        sent = {node.id for node in found if node.type == SEND}
        for node in found:
            both = {dep + 1 for dep in node.deps if dep in sent and dep + 1 in received}
            assert both <= set(node.deps)
            hops += len(both)
    assert hops > 0 or not any(span.op.kind.name == "shift"
                               for span in exported.result.timeline.spans(0))  # fmt: skip


def test_members_of_a_group_make_the_same_calls_in_the_same_order(exported: Exported) -> None:
    """With equal sizes, and all of them; nobody else calls."""
    calls: dict[str, dict[int, list[tuple[int, int]]]] = defaultdict(lambda: defaultdict(list))
    for rank, node in exported.all(COLLECTIVE):
        said = node.said
        calls[said["pg_name"]][rank].append((said["comm_type"], said["comm_size"]))
    assert calls.keys() == exported.groups.keys()
    for name, by_rank in calls.items():
        assert sorted(by_rank) == sorted(exported.groups[name])
        assert len({tuple(made) for made in by_rank.values()}) == 1
        assert int(name) > 0, "ASTRA-sim's group 0 is everybody"


def test_bytes_by_collective_are_those_of_the_summary(exported: Exported) -> None:
    """From the sizes as ASTRA-sim means them, rank by rank."""
    timeline = exported.result.timeline
    for rank, found in enumerate(exported.ranks):
        program, ours = timeline.programs.of(rank), Counter[str]()
        for op in program.ops:
            if op.message is not None:
                lane = program.lanes[op.lane]
                ours[op.message.collective] += received(op.message, lane, timeline.mesh, rank)
        theirs = Counter[str]()
        for node in found:
            if node.type == COLLECTIVE:
                theirs[_name(node)] += _received(node, len(exported.groups[node.said["pg_name"]]))
            elif node.type == RECEIVE:
                theirs["receive" if ours["receive"] else "shift"] += node.said["comm_size"]
        assert +theirs == pytest.approx(+ours, rel=1e-12)


def _name(node: Node) -> str:
    names = {
        et.ALL_REDUCE: "all_reduce", et.REDUCE: "reduce", et.ALL_GATHER: "all_gather",
        et.BROADCAST: "broadcast", et.ALL_TO_ALL: "all_to_all", et.REDUCE_SCATTER: "reduce_scatter",
    }  # fmt: skip
    return names[node.said["comm_type"]]


def _received(node: Node, members: int) -> float:
    size, share = node.said["comm_size"], (members - 1) / members
    kind = node.said["comm_type"]
    return {et.ALL_GATHER: members, et.ALL_REDUCE: 2}.get(kind, 1) * share * size


def test_work_and_time_of_compute_are_ours(exported: Exported) -> None:
    """Exact seconds beside whole microseconds, whose sum on a stream is the rounded sum."""
    timeline = exported.result.timeline
    for rank, found in enumerate(exported.ranks):
        nodes = [node for node in found if node.type == COMP and not node.said["is_cpu_op"]]
        spans = [span for span in timeline.spans(rank) if span.lane == "compute"]
        assert [n.said["seconds"] for n in nodes] == [s.end - s.start for s in spans]
        exact = sum(node.said["seconds"] for node in nodes) * 1e6
        assert sum(node.micros for node in nodes) == pytest.approx(exact, abs=0.51)
        assert all(node.said["num_ops"] > 0 and node.said["tensor_size"] > 0 for node in nodes)
        flops = sum(node.said["num_ops"] for node in nodes if node.said["num_ops"] > 1)
        assert flops == sum(span.op.work.flops for span in spans)


def test_what_is_written_can_be_played_to_its_end(exported: Exported) -> None:
    """One send or collective at a time, as ASTRA-sim has it, and nobody waits for ever."""
    assert Replay(exported.ranks, exported.groups, 1e-6, 1 / 50e9).step_time() > 0


@pytest.mark.parametrize(
    "scenario",
    [on_a_ring("tp"), on_a_ring("tsp", lookahead=0), on_a_ring("tp", phase="train")],
    ids=["tp", "tsp", "tp, training"],
)
def test_a_replay_on_an_equal_ring_takes_our_step_time(
    scenario: dict[str, Any], tmp_path: Path
) -> None:
    """Exactly so with exact durations; with whole microseconds to one of these per call."""
    phase = scenario["strategy"].pop("phase", "forward")
    result = tspsim.run(scenario, f"workload.phase={phase}")
    found = Exported(result, tmp_path / "traces")
    exact = Replay(found.ranks, found.groups, 500e-9, 1 / 50e9).step_time()
    assert exact == pytest.approx(result.timeline.step_time, rel=1e-12)
    assert result.summary.time.exposed_communication > 0.1 * exact
    for _, node in found.all(COMP, COLLECTIVE):
        node.said["seconds"] = node.micros * 1e-6
    rounded = Replay(found.ranks, found.groups, 500e-9, 1 / 50e9).step_time()
    calls = sum(node.type != COMP for node in found.ranks[0])
    assert rounded != exact
    assert rounded == pytest.approx(exact, abs=1e-6 * (calls + 1))


def test_hops_of_weights_that_compute_waits_for_take_our_time(tmp_path: Path) -> None:
    """Over links so slow that a turn of the MLP is shorter than its hop: send and receive count."""
    result = tspsim.run(on_a_ring("tsp", gigabytes=5, lookahead=0))
    found = Exported(result, tmp_path / "traces")
    replay = Replay(found.ranks, found.groups, 500e-9, 1 / 5e9)
    replay.step_time()
    (first, last), spans = _mlp(result), list(result.timeline.spans(0))
    ours = spans[last].end - spans[first].end
    assert replay.ended[0][2 * last] - replay.ended[0][2 * first] == pytest.approx(ours, rel=1e-9)
    hops = [span for span in spans[first:last] if span.op.kind.name == "shift"]
    assert len(hops) == 3
    assert ours > sum(hop.end - hop.start for hop in hops)


def _mlp(result: tspsim.Result) -> tuple[int, int]:
    """Return the ops before and at the end of the first MLP."""
    labels = [op.label for op in result.timeline.programs.of(0).ops]
    return labels.index("residual1"), labels.index("residual2")


def test_the_shipped_schema_is_what_runs_and_what_protoc_makes_of_it(tmp_path: Path) -> None:
    """Our own reader of the file, and the compiler of protobuf, describe the same messages."""
    from google.protobuf.descriptor_pb2 import FileDescriptorSet

    out = tmp_path / "schema.bin"
    _protoc(f"--descriptor_set_out={out}")
    (theirs,) = FileDescriptorSet.FromString(out.read_bytes()).file
    for message in theirs.message_type:
        for field in message.field:
            field.ClearField("json_name")
    assert described(PROTO.read_text(encoding="utf-8")) == theirs
    assert messages().Node.DESCRIPTOR.fields_by_name["attr"].number == 10


def test_protoc_reads_what_is_written(exported: Exported) -> None:
    """Metadata and a node of every type, with nothing in them that the schema does not name."""
    kinds = {COMP: "COMP_NODE", SEND: "COMM_SEND_NODE", COLLECTIVE: "COMM_COLL_NODE"}
    about, *raw = et.messages(exported.folder / "chakra.1.et")
    assert 'string_val: "1.0.2-chakra.0.0.4"' in _protoc("--decode=ChakraProtoMsg.GlobalMetadata",
                                                         about)  # fmt: skip
    for kind, name in kinds.items():
        at = next((i for i, node in enumerate(exported.ranks[1]) if node.type == kind), None)
        if at is not None:
            text = _protoc("--decode=ChakraProtoMsg.Node", raw[at])
            assert f"type: {name}" in text
            assert 'name: "is_cpu_op"' in text


def _protoc(option: str, given: bytes = b"") -> str:
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PROTO.parent}", option, PROTO.name]
    done = subprocess.run(command, input=given, capture_output=True, check=True)
    return done.stdout.decode()


def call(*words: str) -> Any:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(words))


def test_show_says_what_a_trace_holds(exported: Exported) -> None:
    """Nodes, time and bytes by kind, as the file has them."""
    path = exported.folder / "chakra.0.et"
    found = json.loads(call("show", str(path), "--json").stdout)
    assert found["version"] == "0.0.4"
    assert sum(kind["count"] for kind in found["nodes"].values()) == len(exported.ranks[0])
    sizes = Counter[str]()
    for node in exported.ranks[0]:
        if node.type == COLLECTIVE:
            sizes[_name(node).upper()] += node.said["comm_size"]
    assert {name: found["communication"][name]["bytes"] for name in sizes} == dict(sizes)
    text = call("show", str(path)).stdout
    assert "COMP_NODE" in text
    assert "Chakra 0.0.4" in text


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda data: data[:0], "is empty"),
        (lambda data: data[:20], "byte 0 of 20: found no whole GlobalMetadata"),
        (lambda data: b"name: a\nmodel: {}\n" + data[:0], "byte 0 of 18: found no whole"),
        (lambda data: b"\x0a" + b"\xff" * 99 + data, "byte 0 of "),
        (lambda data: data[:-5], "found no whole Node of Chakra; is this"),
        (lambda data: data + b"\x02\xff\xff", "found no whole Node of Chakra; is this"),
        (lambda data: data.replace(b"1.0.2-chakra.0.0.4", b"1.0.2-chakra.2.0.0"),
         "byte 0: found '1.0.2-chakra.2.0.0'; of Chakra's schema are known: 0.0.4, 1.0.0"),
        (lambda data: data.replace(b"1.0.2-chakra.0.0.4", b"symbolic_tensor_ne")
         .replace(b"0.0.4", b"v2005", 1), "byte 0: found 'symbolic_tensor_ne'"),
        (lambda data: data + b"\x02\x18\x04", "found id 0, which node 1 has already"),
        (lambda data: data + b"\x05\x08\xfe\x7f\x18\x0b", "found type 11; known: INVALID_NODE"),
        (lambda data: data + b"\x09\x08\xfe\x7f\x18\x04\x2a\x02\xfd\x7f", "depends on id 16381"),
        (lambda data: data + b"\x09\x08\xfe\x7f\x18\x04\x2a\x02\xfe\x7f", "waits for itself"),
    ],
    ids=["empty", "cut off at once", "a scenario", "no metadata", "cut off", "rubbish behind it",
         "another version", "no version of Chakra", "an id twice",
         "an unknown type", "a dependence on nothing", "a circle"],
)  # fmt: skip
def test_a_trace_that_is_none_is_refused_with_its_place(
    spoil: Any, told: str, tmp_path: Path
) -> None:
    """File, node and byte; exit code 2; nothing of it is shown."""
    good = tmp_path / "good"
    exporting.write("chakra", small_result.real("tp"), good)
    path = tmp_path / "bad.et"
    path.write_bytes(spoil((good / "chakra.0.et").read_bytes()))
    done = call("show", str(path))
    assert done.exit_code == 2
    assert done.stdout == ""
    assert done.stderr.startswith(f"{path}: ")
    assert told in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("version", KNOWN)
def test_traces_that_say_their_version_alone_are_read(version: str, tmp_path: Path) -> None:
    """Chakra's generators write no schema."""
    schema = messages()
    about = schema.GlobalMetadata(version=version).SerializeToString()
    node = schema.Node(name="x", type=COMP).SerializeToString()
    path = tmp_path / "alone.et"
    path.write_bytes(bytes([len(about)]) + about + bytes([len(node)]) + node)
    assert reading.read(path).version == version


def test_nothing_is_changed_in_a_trace(tmp_path: Path) -> None:
    """Overrides are for scenarios."""
    done = call("show", str(tmp_path / "a.et"), "workload.batch=2")
    assert done.exit_code == 2
    assert "in which nothing is changed: workload.batch=2" in done.stderr
