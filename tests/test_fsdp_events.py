"""Zero 3 against torch's FSDP2: the same events in the same order, with the same bytes; its peak.

`data/oracles` holds what torch's FSDP2 was seen to do under a fake process group.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path

import pytest

from tspsim import memory
from tspsim.calibrate.oracle.fsdp import simulated
from tspsim.calibrate.oracle.fsdp.config import COMPARED, Config
from tspsim.calibrate.oracle.fsdp.differences import memory_differences
from tspsim.calibrate.oracle.fsdp.peaks import peaks, table
from tspsim.mesh import Mesh
from tspsim.program.types import Program, Programs

TOP = Path(__file__).parent
RECORDS = TOP / "data" / "oracles"
#: What FSDP2 issues: collectives, and the copy of what has arrived.
ISSUED = ("all_gather", "reduce_scatter", "all_reduce", "unshard")

Row = dict[str, str]
Event = tuple[str, int, int, str]

CONFIGS = {config.name: config for config in COMPARED}


@cache
def rows(name: str) -> list[Row]:
    """Return the rows of a file."""
    with (RECORDS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


def peak(config: str) -> int:
    """Return torch's peak."""
    (row,) = (row for row in rows("fsdp2-peaks.csv") if row["config"] == config)
    return int(row["Total"])


def seen(config: str) -> list[Event]:
    """Return what torch did, and when the compute of layers began."""
    found = []
    for row in rows("fsdp2-events.csv"):
        computes = row["op"] in ("forward", "backward") and row["layer"] != "root"
        if row["config"] == config and (row["op"] in ISSUED or computes):
            found.append((row["op"], int(row["ranks"]), int(row["bytes"]), row["layer"]))
    return found


@cache
def recorded(config: str) -> tuple[Programs, Mesh]:
    """Return the programs and the mesh of the same step."""
    return simulated.record(CONFIGS[config])


def events(program: Program, mesh: Mesh) -> list[Event]:
    """Return what a rank does, as torch's record has it."""
    found: list[Event] = []
    for op in program.ops:
        lane, layer = program.lanes[op.lane], "root" if op.layer is None else str(op.layer)
        if op.message is not None:
            if {"dp", "shard"} & set(lane.axes) and op.label != "loss":
                ranks = lane.size or mesh.degree(lane.axis or ())
                found.append((op.message.collective, ranks, op.message.bytes, layer))
        elif op.label == "copy_out":
            found.append(("unshard", 0, sum(o.buffer.bytes for o in op.outputs), layer))
        elif layer != "root" and op.label not in ("copy_in", "keep", "let_go", "convert"):
            computes = ("forward" if op.phase == "forward" else "backward", 0, 0, layer)
            if found[-1] != computes:
                found.append(computes)
    return found


@pytest.mark.parametrize("config", CONFIGS)
def test_events_are_those_of_torch(config: str) -> None:
    """Kind, members, bytes and layer of every message, copy and pass through a layer, in order."""
    programs, mesh = recorded(config)
    assert events(programs.roles[0], mesh) == seen(config)


@pytest.mark.parametrize("config", CONFIGS.values(), ids=lambda config: config.name)
def test_the_peak_is_that_of_torchs_tracker(config: Config) -> None:
    """Within 1 %: all that torch holds; around plain modules after what has a name."""
    named = sum(difference.bytes for difference in memory_differences(config))
    assert simulated.peak(config) + named == pytest.approx(peak(config.name), rel=0.01)


@pytest.mark.parametrize("way", ["reshard", "keep", "reshard to 4", "hsdp", "accumulate"])
def test_the_peak_grows_with_layers_as_torchs(way: str) -> None:
    """Six layers more take what they take in torch, to 0.3 %: all but the positions of tokens."""
    few, many = f"{way} x2", f"{way} x8"
    more = simulated.peak(CONFIGS[many]) - simulated.peak(CONFIGS[few])
    assert more == pytest.approx(peak(many) - peak(few), rel=0.003)


def test_gradients_come_with_their_reductions() -> None:
    """The shards of gradients are not there in forward: torch's trainers drop them after a step."""
    programs, mesh = recorded("reshard x2")
    (program,) = programs.roles
    timeline = simulated.in_issue_order(programs, mesh)
    written = {o.buffer.index: op for op in reversed(program.ops) for o in op.outputs}
    shards = [b for b in program.buffers if b.kind == "gradient"]
    births = memory.lifetimes(timeline, 0).birth
    assert shards
    for shard in shards:
        assert written[shard.index].label == "gradients"
        assert births[shard.index] > timeline.end[0][-1] / 2


def test_what_a_gather_of_forward_brought_is_held_to_the_next_copy_out() -> None:
    """Layer 1 is gathered, and layer 0's buffer let go, before layer 1 is copied out."""
    (program,) = recorded("reshard x2")[0].roles
    forward = [op for op in program.ops if op.phase == "forward"]
    _, first, second, *_ = (op for op in forward if op.label == "weights")
    (let_go,) = (op for op in forward if op.label == "let_go" and op.inputs == first.outputs)
    _, _, copied = (op for op in forward if op.label == "copy_out")
    assert second.index < let_go.index < copied.index


def test_the_table_of_the_page_is_that_of_the_records() -> None:
    """docs/oracles.md shows every peak of both sides."""
    page = (TOP.parent / "docs" / "oracles.md").read_text(encoding="utf-8")
    assert table(peaks(RECORDS / "fsdp2-peaks.csv")) in page, (
        "docs/oracles.md is out of date: python docs/refresh.py oracles"
    )
