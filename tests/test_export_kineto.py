"""The trace for Holistic Trace Analysis: what HTA says of it is what our own summary says."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import tspsim
from tspsim.analysis.summary import time_of
from tspsim.engine.held import held
from tspsim.engine.timeline import Span
from tspsim.output import exporting
from tspsim.output.kineto_launches import launches
from tspsim.program.recorder import HOST

TOP = Path(__file__).parents[1]
MS = 1e-3

#: Overrides of one layer on four devices: TSP, TP, a pipeline that waits for its host too, and TP
#: with a slow device.
RUNS = {
    "tsp": ("workload.phase=train",),
    "tp": ("workload.phase=train", "topology.ranks=2", "strategy={kind: tp, degree: 2}"),
    "pipeline": (
        "workload.phase=train", "model.layers=4", "workload.micro_batches=2", "topology.ranks=2",
        "workload.sequence=8192", "kernels={host: 12 ms}",
        "strategy={kind: tp, degree: 1, pp: {stages: 2, schedule: 1f1b}}",
    ),
    "straggler": (
        "topology.ranks=4", "strategy={kind: tp, degree: 4}",
        "disturbances={slow_devices: [{device: 2, speed: 0.8}]}",
    ),
}  # fmt: skip


@cache
def run(name: str) -> tspsim.Run:
    """Return the run of a name."""
    return tspsim.run("tsp-layer", *RUNS[name])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Return the folder of every run."""
    top = tmp_path_factory.mktemp("kineto")
    for name in RUNS:
        exporting.write("kineto", run(name), top / name)
    return {name: top / name for name in RUNS}


@pytest.fixture(scope="module")
def hta(folders: dict[str, Path]) -> dict[str, Any]:
    """Return what HTA says of every run."""
    if find_spec("hta") is None:
        pytest.skip("needs HolisticTraceAnalysis, which is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.hta_reads", *map(str, folders.values())],
        cwd=TOP, capture_output=True, text=True, check=False,
        env=os.environ | {"PYTHONPATH": str(TOP)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    return {name: found[str(folder)] for name, folder in folders.items()}


def played(name: str, rank: int) -> list[Span]:
    """Return what a rank plays on its device and what takes time, in issue order."""
    return [s for s in run(name).timeline.spans(rank) if s.lane != "host" and s.end > s.start]


@cache
def kernels(name: str, rank: int) -> list[Span]:
    """Return the same as a device shows it: a collective runs from when its own rank has come."""
    waits = run(name).timeline.programs.of(rank).waits
    end: dict[int, float] = {}
    free: dict[str, float] = {}
    come: dict[int, float] = {}
    for span in run(name).timeline.spans(rank):
        at, before = span.op.index, free.get(span.lane, 0.0)
        come[at] = max([before, *(end[other] for other in waits[at])])
        end[at] = free[span.lane] = span.end
    return [s._replace(start=come[s.op.index]) if s.op.message else s for s in played(name, rank)]


def communication(name: str, rank: int) -> list[Span]:
    """Return the kernels of a rank that communicate."""
    return [span for span in kernels(name, rank) if span.op.message is not None]


def times(spans: Iterable[Span]) -> list[tuple[float, float]]:
    """Return start and end of some spans."""
    return [(span.start, span.end) for span in spans]


def covered(intervals: Iterable[tuple[float, float]]) -> float:
    """Return the seconds that at least one of some intervals covers."""
    total = until = 0.0
    for start, end in sorted(intervals):
        total += max(0.0, end - max(start, until))
        until = max(until, end)
    return total


def spun(name: str, rank: int) -> float:
    """Return the seconds in which all that a rank does is to wait in a collective for others."""
    return covered(times(kernels(name, rank))) - covered(times(played(name, rank)))


def meanwhile(name: str, rank: int) -> float:
    """Return the seconds in which compute waits for its host while something is under way."""
    spans = times(span for span in played(name, rank) if span.op.message is not None)
    waits = held(run(name).timeline, rank)
    return covered(
        (max(start, since), min(end, until))
        for start, end in spans
        for since, until in waits
        if max(start, since) < min(end, until)
    )


@pytest.mark.parametrize("name", RUNS)
def test_hta_divides_the_time_of_every_rank_as_the_summary_does(
    name: str, hta: dict[str, Any]
) -> None:
    """To 0.1 %. HTA begins with a rank's first kernel and ends with its last, and knows no host.

    So what it calls idle is our idle and our waits for the host, less what lies before the first
    kernel and behind the last, and less those waits in which something is under way, or in which a
    collective has been called and waits for others: to HTA they are exposed communication.
    """
    timeline = run(name).timeline
    found = {row["rank"]: row for row in hta[name]["breakdown"]}
    assert sorted(found) == list(range(timeline.mesh.ranks))
    for rank, row in found.items():
        ours, mine, step = time_of(timeline, rank), kernels(name, rank), timeline.step_time
        outside = min(span.start for span in mine) + step - max(span.end for span in mine)
        both = meanwhile(name, rank) + spun(name, rank)
        said = {key: row[f"{key}_time(us)"] * 1e-6 for key in ("compute", "non_compute", "idle")}
        assert said == pytest.approx(
            {
                "compute": ours.compute,
                "non_compute": ours.exposed_communication + both,
                "idle": ours.idle + (ours.host or 0.0) - outside - both,
            },
            rel=1e-3, abs=1e-5,
        )  # fmt: skip
        assert row["kernel_time(us)"] * 1e-6 == pytest.approx(step - outside, rel=1e-3)


def test_the_runs_have_what_they_are_to_show() -> None:
    """Exposed and hidden communication, idle time at the edges and between, and a host."""
    tsp, tp, pipeline, waits = (time_of(run(name).timeline, 0) for name in RUNS)
    assert tp.exposed_communication > tsp.exposed_communication > 1 * MS
    assert pipeline.host is not None
    assert pipeline.host > 1 * MS
    alone = run("straggler").timeline.step_time - max(s.end for s in kernels("straggler", 0))
    assert spun("straggler", 0) == pytest.approx(waits.idle - alone)
    assert spun("straggler", 0) > 1 * MS
    assert spun("straggler", 2) == pytest.approx(0, abs=1e-12)
    assert (spun("tsp", 0), spun("tp", 0)) == pytest.approx((0, 0), abs=1e-12)
    first = min(span.start for span in played("pipeline", 1))
    assert time_of(run("pipeline").timeline, 1).idle > 1 * MS
    assert first > 1 * MS
    assert meanwhile("pipeline", 0) > 0.1 * MS
    assert meanwhile("tsp", 0) == 0
    assert len(run("tsp").timeline.played) < 4


@pytest.mark.parametrize("name", RUNS)
def test_hta_finds_the_same_part_of_communication_hidden(name: str, hta: dict[str, Any]) -> None:
    """To 0.1 of a percent, on every rank."""
    for row in hta[name]["overlap"]:
        mine = kernels(name, row["rank"])
        compute = covered(times(span for span in mine if span.op.message is None))
        other = covered(times(communication(name, row["rank"])))
        hidden = (compute + other - covered(times(mine))) / other
        assert row["comp_comm_overlap_pctg"] == pytest.approx(100 * hidden, abs=0.1)


@pytest.mark.parametrize("name", RUNS)
def test_hta_sums_kernels_by_kind_as_the_spans_do(name: str, hta: dict[str, Any]) -> None:
    """All kinds, all ranks; what is communication is nothing else."""
    found: dict[tuple[int, str, str], float] = defaultdict(float)
    for row in hta[name]["kernels"]:
        found[row["rank"], row["kernel_type"], row["name"].split()[0]] += row["sum (us)"] * 1e-6
    ours: dict[tuple[int, str, str], float] = defaultdict(float)
    for rank in range(run(name).timeline.mesh.ranks):
        for span in kernels(name, rank):
            message = span.op.message
            kind = "COMPUTATION" if message is None else "COMMUNICATION"
            title = span.op.kind.name if message is None else NCCL[message.collective]
            ours[rank, kind, title] += span.end - span.start
    assert found.keys() == ours.keys()
    assert dict(found) == pytest.approx(dict(ours), rel=1e-3, abs=3e-6 * len(kernels(name, 0)))


NCCL = {
    "all_reduce": "ncclKernel_AllReduce", "all_gather": "ncclKernel_AllGather",
    "reduce_scatter": "ncclKernel_ReduceScatter", "broadcast": "ncclKernel_Broadcast",
    "reduce": "ncclKernel_Reduce", "shift": "ncclKernel_SendRecv",
    "send": "ncclKernel_SendRecv", "receive": "ncclKernel_SendRecv",
}  # fmt: skip

#: By collective, which part of the message the tensors that torch is given and fills hold.
PARTS = {"all_gather": (0, 1), "reduce_scatter": (1, 0)}


@pytest.mark.parametrize("name", RUNS)
def test_hta_reads_order_times_streams_and_sizes(name: str, hta: dict[str, Any]) -> None:
    """Kernel by kernel, in issue order; sizes are the messages' to the byte."""
    timeline, sizes = run(name).timeline, {"BFloat16": 2, "Float": 4, "Byte": 1, "": 0}
    for rank, rows in hta[name]["ranks"].items():
        program = timeline.programs.of(int(rank))
        for span, row in zip(kernels(name, int(rank)), rows, strict=True):
            op, lane = span.op, program.lanes[span.op.lane]
            assert (row["correlation"], row["stream"]) == (op.index + 1, 7 + op.lane)
            assert row["iteration"] == 1
            assert row["ts"] == pytest.approx(span.start * 1e6, abs=0.5)
            assert row["ts"] + row["dur"] == pytest.approx(span.end * 1e6, abs=0.5)
            each = sizes[row["msg_dtype"]]
            said = (row["in_msg_nelems"] * each, row["out_msg_nelems"] * each, row["group_size"])
            if op.message is None:
                assert said == (0, 0, 0)
                continue
            whole, members = op.message.bytes, len(lane.members(timeline.mesh, int(rank)))
            part = whole // members, whole
            given, got = PARTS.get(op.message.collective, (1, 1))
            assert said == (part[given], part[got], members)
            assert row["name"] == NCCL[op.message.collective]


def test_hta_names_the_slow_rank(hta: dict[str, Any]) -> None:
    """It looks for who comes last to a collective, which every other rank has waited in."""
    assert hta["straggler"]["stragglers"] == [2]


def test_hta_takes_waits_for_the_hosts_only_where_the_host_is_late(hta: dict[str, Any]) -> None:
    """Without host time launches are ahead of their streams; with it, compute waits, as ours does.

    HTA lays a whole gap at the host's door where the launch behind it came late: not less than we.
    """
    waits = dict.fromkeys(RUNS, 0.0)
    for name in RUNS:
        late = (row for row in hta[name]["idle"] if row["idle_category"] == "host_wait")
        waits[name] = sum(row["idle_time"] for row in late)
    assert (waits["tsp"], waits["tp"], waits["straggler"]) == (0, 0, 0)
    ours = sum(until - since for since, until in held(run("pipeline").timeline, 0))
    assert waits["pipeline"] * 1e-6 >= ours > 1 * MS


def test_the_launches_of_a_pass_lie_where_its_host_issues_it(folders: dict[str, Path]) -> None:
    """Every issue is on the host's thread, and every launch that takes time lies inside one."""
    events = read(folders["pipeline"] / "rank0.json.gz")["traceEvents"]
    issues = [e for e in events if e.get("cat") == "cpu_op"]
    spans = [s for s in run("pipeline").timeline.spans(0) if s.lane == "host"]
    assert [e["ts"] for e in issues] == pytest.approx([s.start * 1e6 for s in spans], abs=0.5)
    taking = [e for e in events if e.get("cat") == "cuda_runtime" and e["dur"]]
    assert len(taking) > 4 * len(issues)
    ends = [(e["ts"], e["ts"] + e["dur"]) for e in issues]
    assert all(any(a <= e["ts"] and e["ts"] + e["dur"] <= b for a, b in ends) for e in taking)


@pytest.mark.parametrize("host", ["1 ms", "30 ms"])
def test_no_kernel_starts_before_its_launch_ends(host: str) -> None:
    """Also of messages that do not wait for the host, and are under way while it issues."""
    timeline = tspsim.run("tsp-layer", *RUNS["tsp"], f"kernels={{host: {host}}}").timeline
    program = timeline.programs.of(0)
    host_lane = program.lanes.index(HOST)
    found = [e for e in launches(timeline, 0) if program.ops[e.op].lane != host_lane]
    assert all(each.end <= timeline.start[0][each.op] for each in found)
    assert any(each.end > each.start for each in found)


def read(path: Path) -> Any:
    """Return a trace as a reader sees it."""
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return json.load(file)


def test_a_twin_has_a_file_with_its_own_rank_and_partners(folders: dict[str, Path]) -> None:
    """Times of a rank that another stands for are that one's; rank, root and neighbours its own."""
    traces = [read(folders["tsp"] / f"rank{rank}.json.gz") for rank in range(4)]
    assert [t["distributedInfo"]["rank"] for t in traces] == [0, 1, 2, 3]
    kernels_of = [[e for e in t["traceEvents"] if e.get("cat") == "kernel"] for t in traces]
    times = [[(e["ts"], e["dur"], e["name"]) for e in found] for found in kernels_of]
    assert times[1:] == [times[0]] * 3
    for rank, found in enumerate(kernels_of):
        hops = [e["args"] for e in found if e["args"].get("Collective name") == "sendrecv"]
        assert {(a["Src Rank"], a["Dst Rank"]) for a in hops} == {((rank - 1) % 4, (rank + 1) % 4)}
        assert {a["Process Group Ranks"] for a in hops} == {"[0, 1, 2, 3]"}
        roots = {e["args"]["Root Rank"] for e in found if "Root Rank" in e["args"]}
        assert roots == {0, 1, 2, 3}


def test_a_pipeline_says_who_sends_to_whom(folders: dict[str, Path]) -> None:
    """The first stage sends activations to the second and receives their gradients from it."""
    for rank in (0, 1):
        events = read(folders["pipeline"] / f"rank{rank}.json.gz")["traceEvents"]
        told = [e["args"] for e in events if "Collective name" in e.get("args", {})]
        hops = {(a["Collective name"], a.get("Dst Rank"), a.get("Src Rank")) for a in told}
        assert hops == {("send", 1 - rank, None), ("recv", None, 1 - rank)}


def test_the_rank_stands_in_the_first_line_as_hta_looks_for_it(folders: dict[str, Path]) -> None:
    """HTA finds it by a pattern, before it reads any JSON."""
    with gzip.open(folders["tsp"] / "rank3.json.gz", "rt", encoding="utf-8") as file:
        assert re.findall(r'"rank":\s+(\d+)', file.readline()) == ["3"]
