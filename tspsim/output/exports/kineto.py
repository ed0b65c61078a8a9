"""What torch.profiler would write of each rank, for Holistic Trace Analysis.

Kernels stand on streams, communication as kernels of NCCL with their sizes and groups, and each has
its launch on the host's thread. All moments are whole microseconds: a reader that rounds fractions
shrinks every kernel by up to one, and takes what lies between two that follow each other for idle.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.output import gzipped
from tspsim.output.kineto_events import events, group_name
from tspsim.program.types import Program

if TYPE_CHECKING:
    from tspsim.result import Result

FILES = "rank*.json.gz"

_encode = json.JSONEncoder(ensure_ascii=False).encode


def export(result: Result, target: Path) -> list[Path]:
    """Write a file for every rank, also for those that others stand for."""
    return [
        path
        for rank in range(result.timeline.mesh.ranks)
        for path in gzipped.write_named(target / f"rank{rank}.json.gz", _blocks(result, rank))
    ]


def _blocks(result: Result, rank: int) -> Iterator[str]:
    """Yield a rank's trace; readers look for its number in the first lines."""
    yield _encode(_about(result, rank))[:-1] + ',\n"traceEvents":[\n'
    yield ",\n".join(map(_encode, events(result, rank)))
    yield "\n]}\n"


def _about(result: Result, rank: int) -> dict[str, Any]:
    device = result.scenario.topology.devices[rank]
    properties = {"id": rank, "name": device.name, "totalGlobalMem": int(device.memory)}
    groups = _groups(result, result.timeline.programs.of(rank), rank)
    return {
        "schemaVersion": 1,
        "distributedInfo": {
            "backend": "nccl",
            "rank": rank,
            "world_size": result.timeline.mesh.ranks,
            "pg_count": len(groups),
            "pg_config": groups,
        },
        "deviceProperties": [properties],
        "displayTimeUnit": "ms",
        "traceName": f"{result.scenario.name}, simulated by tspsim",
    }


def _groups(result: Result, program: Program, rank: int) -> list[dict[str, Any]]:
    """Return the communicators of a rank as process groups of torch."""
    lanes = [lane for lane in program.lanes if lane.axis is not None]
    members = [lane.members(result.timeline.mesh, rank) for lane in lanes]
    return [
        {
            "pg_name": group_name(lane, ranks),
            "pg_desc": lane.name,
            "pg_size": len(ranks),
            "ranks": list(ranks),
        }
        for lane, ranks in zip(lanes, members, strict=True)
    ]
