"""Traces as ``torch.profiler`` writes them, made of simulated runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tspsim.reports.beside import HOST, Beside, activities_of
from tspsim.result import Result
from tspsim.traces.events import Activity

#: What torch and NCCL call them: an op, and the kernel that it launches.
COMPUTE = {
    "matmul": ("aten::mm", "nvjet_tst_128x256_64x4_2x1_v_bz_coopB_TNT"),
    "grouped": ("aten::_grouped_mm", "cutlass_gemm_grouped"),
    "attention": ("aten::_scaled_dot_product_flash_attention", "flash_fwd_kernel"),
    "attention_backward": (
        "aten::_scaled_dot_product_flash_attention_backward", "flash_bwd_kernel",
    ),
    "elementwise": ("aten::mul", "vectorized_elementwise_kernel"),
}  # fmt: skip
NCCL = {
    "all_reduce": "AllReduce_Sum_bf16_RING_LL", "all_gather": "AllGather_RING_LL",
    "reduce_scatter": "ReduceScatter_Sum_bf16_RING_LL", "broadcast": "Broadcast_RING_LL",
    "reduce": "Reduce_Sum_bf16_RING_LL", "all_to_all": "SendRecv", "shift": "SendRecv",
    "send": "SendRecv", "receive": "SendRecv",
}  # fmt: skip
CALLED = {"all_gather": "_allgather_base", "reduce_scatter": "_reduce_scatter_base",
          "all_reduce": "allreduce", "shift": "coalesced", "receive": "recv"}  # fmt: skip

#: Microseconds from one step to the next, and of a launch.
APART, LAUNCH = 1e8, 2.0


def write(
    result: Result, folder: Path, steps: int = 1, slower: float = 1.0, scale: float = 1.0
) -> None:
    """Write the trace of every rank of a run, each step so much slower than the one before."""
    ranks = result.timeline.mesh.ranks
    paths = [folder / f"rank{rank}.json" for rank in range(ranks)]
    for rank, path in enumerate(paths):
        done = activities_of(result, rank)
        events = [
            event
            for step in range(steps)
            for event in _step(done, step, scale * slower**step, result.timeline.step_time)
        ]
        path.write_text(json.dumps(document(events, rank, ranks)), encoding="utf-8")


def document(events: list[Any], rank: int = 0, world: int = 1, **more: Any) -> dict[str, Any]:
    """Return what a file holds."""
    about = {"backend": "nccl", "rank": rank, "world_size": world}
    return {
        "schemaVersion": 1, "deviceProperties": [], "distributedInfo": about, "host_name": "node",
        "baseTimeNanoseconds": 0, "traceEvents": events,
    } | more  # fmt: skip


def _step(
    done: list[Activity], step: int, slower: float, seconds: float
) -> Iterator[dict[str, Any]]:
    start = step * APART
    took = seconds * slower * 1e6
    yield event("user_annotation", f"ProfilerStep#{step}", start, took + 1.0, tid=1)
    streams: dict[str, int] = {}
    for number, a in enumerate(x for x in done if x.kind != HOST):
        correlation = step * 1_000_000 + number
        launched = start + a.start * slower * 1e6
        args = {"correlation": correlation}
        op, kernel = _names(a)
        stream = 7 if a.compute else streams.setdefault(a.name.split()[-1], 20 + len(streams))
        yield event("cpu_op", op, launched, LAUNCH, tid=1)
        yield event("cuda_runtime", "cudaLaunchKernel", launched, 1.0, tid=1, **args)
        more = _message(a) if a.communication else {}
        length = a.seconds * slower * 1e6
        yield event("kernel", kernel, launched, length, pid=0, tid=stream, stream=stream,
                    device=0, **args, **more)  # fmt: skip


def _names(a: Activity) -> tuple[str, str]:
    if a.communication:
        return "record_param_comms", f"ncclDevKernel_{NCCL[a.kind]}"
    return COMPUTE[a.kind]


def _message(a: Activity) -> dict[str, Any]:
    assert a.bytes is not None
    name = CALLED.get(a.kind, a.kind)
    return {"Collective name": name, "In msg nelems": 1, "Out msg nelems": a.bytes, "dtype": "Byte"}


def event(cat: str, name: str, ts: float, dur: float, tid: int, pid: int = 100, **args: Any) -> Any:
    """Return an event that lasts."""
    return {"ph": "X", "cat": cat, "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur,
            "args": args}  # fmt: skip


def collectives(found: Beside) -> dict[str, tuple[Any, Any]]:
    """Return calls and bytes of every collective, measured and predicted."""
    return {
        row.kind: tuple((a.calls, a.bytes) if a else None for a in (row.measured, row.predicted))
        for row in found.rows
        if row.communication
    }  # type: ignore[return-value]


def check_collectives(found: Beside, kinds: set[str]) -> None:
    """Both sides say the same of the same collectives: how often, and how much."""
    both = collectives(found)
    assert both.keys() == kinds
    assert all(one == other is not None for one, other in both.values()), both
    assert not any(row.sizes for row in found.rows)


#: What a block under TSP says on two ranks of gloo.
TSP = {"broadcast", "all_gather", "reduce_scatter", "all_reduce", "reduce", "send", "receive"}
