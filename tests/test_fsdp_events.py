"""Zero 3 against torch's FSDP2: the same events in the same order, with the same bytes.

`data/oracles` holds what torch's FSDP2 was seen to do under a fake process group.
"""

from __future__ import annotations

import csv
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tests.schedules import options
from tspsim import memory
from tspsim.engine.simulate import Setup, simulate
from tspsim.engine.timeline import Timeline
from tspsim.mesh import Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.types import Program, Programs
from tspsim.topology.load import load

RECORDS = Path(__file__).parent / "data" / "oracles"
SIZES = {"fp32": 4, "bf16": 2}
#: What FSDP2 issues: collectives, and the copy of what has arrived.
ISSUED = ("all_gather", "reduce_scatter", "all_reduce", "unshard")

Row = dict[str, str]
Event = tuple[str, int, int, str]


@cache
def rows(name: str) -> list[Row]:
    """Return the rows of a file."""
    with (RECORDS / name).open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


#: By name. Packs that are cut as they lie, not tensor by tensor, are torch's way in one of them.
CONFIGS = {
    row["config"]: row for row in rows("fsdp2-peaks.csv") if row["config"] != "padded flat x2"
}


def seen(config: str) -> list[Event]:
    """Return what torch did, and when the compute of layers began."""
    found = []
    padded = config.startswith("padded")  # torch's weights keep their padding, ours do not
    for row in rows("fsdp2-events.csv"):
        computes = row["op"] in ("forward", "backward") and row["layer"] != "root"
        if row["config"] == config and (row["op"] in ISSUED or computes):
            size = 0 if padded and row["op"] == "unshard" else int(row["bytes"])
            found.append((row["op"], int(row["ranks"]), size, row["layer"]))
    return found


@cache
def recorded(config: str) -> tuple[Programs, Mesh, str]:
    """Return the programs and the mesh of the same step, and its dtype."""
    row = CONFIGS[config]
    count = {k: int(row[k]) for k in ("hidden", "layers", "heads", "kv_heads", "ffn", "vocab")}
    model = ModelShape(
        **count, tied=row["tied"] == "True", head_dim=count["hidden"] // count["heads"]
    )
    dtype, own = row["param_dtype"] or row["dtype"], SIZES[row["dtype"]]
    batches = int(row["accumulate"])
    workload = Workload(
        sequence=int(row["sequence"]), batch=int(row["batch"]), micro_batches=batches,
        dtype=dtype, causal="contiguous",
    )  # fmt: skip
    optimizer = Optimizer("adamw", own, own, (("moments", 2.0 * own),), 0.0)
    strategy = options(row["strategy"], **how(row, dtype))
    return strategy.record(model, workload, optimizer), strategy.mesh(), dtype


def how(row: Row, dtype: str) -> dict[str, Any]:
    """Return a config as options of a strategy."""
    found: dict[str, Any] = {"degree": int(row["degree"]), "dp": int(row["dp"]), "zero": 3}
    found["reduce"] = row["reduce_dtype"] or dtype
    if row["reshard"]:
        known: dict[str, bool] = {"True": True, "False": False}
        found["reshard"] = (
            known.get(row["reshard"]) if row["reshard"] in known else int(row["reshard"])
        )
    if int(row["replicate"]) > 1:
        found["shard"] = {"degree": int(row["dp"]) // int(row["replicate"])}
    if int(row["accumulate"]) > 1:
        found["sync"] = "last"
    return found


def events(program: Program, mesh: Mesh, *, padded: bool) -> list[Event]:
    """Return what a rank does, as torch's record has it."""
    found: list[Event] = []
    for op in program.ops:
        lane, layer = program.lanes[op.lane], "root" if op.layer is None else str(op.layer)
        if op.message is not None:
            if {"dp", "shard"} & set(lane.axes) and op.label != "loss":
                ranks = lane.size or mesh.degree(lane.axis or ())
                found.append((op.message.collective, ranks, op.message.bytes, layer))
        elif op.label == "copy_out":
            size = 0 if padded else sum(o.bytes for o in op.outputs)
            found.append(("unshard", 0, size, layer))
        elif layer != "root" and op.label not in ("copy_in", "keep", "let_go", "convert"):
            computes = ("forward" if op.phase == "forward" else "backward", 0, 0, layer)
            if found[-1] != computes:
                found.append(computes)
    return found


@pytest.mark.parametrize("config", CONFIGS)
def test_events_are_those_of_torch(config: str) -> None:
    """Kind, members, bytes and layer of every message, copy and pass through a layer, in order."""
    programs, mesh, _ = recorded(config)
    assert events(programs.roles[0], mesh, padded=config.startswith("padded")) == seen(config)


def played(config: str) -> Timeline:
    """Return the step on devices behind a switch."""
    programs, mesh, dtype = recorded(config)
    link = {"bandwidth": "50 GB/s", "latency": "1 us"}
    keys = {"kind": "switch", "ranks": mesh.ranks, "link": link, "device": "h100-sxm"}
    return simulate(Setup(programs, mesh, load(keys), dtype))


@pytest.mark.parametrize("config", ["keep x1", "keep x2", "keep x8"])
def test_gathered_weights_at_the_peak_are_those_of_torch(config: str) -> None:
    """Where weights stay: all of them, and what the last gather brought, while its layer runs."""
    row, timeline = CONFIGS[config], played(config)
    (program,) = timeline.programs.roles
    last = max(op.index for op in program.ops if op.phase == "forward" and op.label == "copy_out")
    alive = memory.alive(timeline, 0, (timeline.end[0][last] + timeline.start[0][last + 1]) / 2)
    gathered = sum(b.bytes for b in alive if b.kind == "workspace")
    assert gathered == int(row["Unsharded Param"]) + int(row["All Gather"])


def most(config: str) -> int:
    """Return the most bytes alive while that goes on during which torch's peak is.

    Without the resident shards of gradients: in torch's steps they come with the reductions.
    """
    timeline, (phase, layer) = played(config), CONFIGS[config]["during"].split()
    (program,) = timeline.programs.roles
    ops = [op.index for op in program.ops if (op.phase, str(op.layer)) == (phase, layer)]
    first, last = ops[0], ops[-1]
    trace = memory.trace(timeline).ranks[0]
    there = (trace.times >= timeline.start[0][first]) & (trace.times <= timeline.end[0][last])
    held = sum(b.bytes for b in program.buffers if b.resident and b.kind == "gradient")
    return int(trace.total[there].max()) - held


@pytest.mark.parametrize("way", ["reshard", "keep", "reshard to 4", "hsdp", "accumulate"])
def test_the_peak_grows_with_layers_as_torchs(way: str) -> None:
    """Six layers more take what they take in torch, to 1 %.

    The rest is the same at any depth: what the reference's wrappers of autograd hold of the head.
    """
    few, many = f"{way} x2", f"{way} x8"
    torchs = int(CONFIGS[many]["Total"]) - int(CONFIGS[few]["Total"])
    assert most(many) - most(few) == pytest.approx(torchs, rel=0.01)
