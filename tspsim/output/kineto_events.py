"""The events of a rank as torch.profiler writes them: kernels, their launches, and the step.

Format: what Kineto of PyTorch 2.x writes and Holistic Trace Analysis 0.5.0 reads. A kernel has
``stream`` and ``correlation``; the launch of the same ``correlation`` is on the host's thread,
inside of ``ProfilerStep#1``; communication is called ``ncclKernel_...``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.timeline import Timeline
from tspsim.mesh import Mesh
from tspsim.output.columns import figures
from tspsim.output.kineto_launches import launches
from tspsim.output.kineto_messages import about, kernel
from tspsim.output.kineto_waits import begins
from tspsim.program.recorder import HOST
from tspsim.program.types import Lane, Op

if TYPE_CHECKING:
    from tspsim.result import Result

Event = dict[str, Any]

#: The stream of compute, as torch numbers it; those of communicators follow.
STREAM = 7
#: The number of the host's process and thread: far from any rank's, so that files can be merged.
PROCESS, THREAD = 1_000_000, 1


def events(result: Result, rank: int) -> Iterator[Event]:
    """Yield the events of a rank.

    Parameters
    ----------
    result : Result
    rank : int
    """
    timeline = result.timeline
    yield from _names(timeline, rank)
    step = math.ceil(timeline.step_time * 1e6) + 1  # a launch at its very end is still inside
    yield _on_host(rank, "user_annotation", "ProfilerStep#1", 0, step, {})
    yield from _launches(timeline, rank)
    yield from _kernels(result, rank)


def group_name(lane: Lane, ranks: tuple[int, ...]) -> str:
    """Return the name of a communicator: the same for all its members, and theirs alone."""
    return f"{lane.name}:{min(ranks)}"


def _names(timeline: Timeline, rank: int) -> Iterator[Event]:
    """Yield what processes and tracks are called."""
    processes = ((rank, f"rank {rank}: device"), (PROCESS + rank, f"rank {rank}: host"))
    for pid, name in processes:
        yield _name("process_name", pid, 0, name)
    yield _name("thread_name", PROCESS + rank, THREAD, "launches")
    for number, lane in enumerate(timeline.programs.of(rank).lanes):
        if lane != HOST:  # viewers put the number of the stream behind its name themselves
            yield _name("thread_name", rank, STREAM + number, lane.name)


def _name(what: str, pid: int, tid: int, name: str) -> Event:
    return {"ph": "M", "name": what, "pid": pid, "tid": tid, "ts": 0, "args": {"name": name}}


def _on_host(rank: int, cat: str, name: str, start: int, took: int, args: Event) -> Event:
    place = {"pid": PROCESS + rank, "tid": THREAD, "ts": start, "dur": took}
    return {"ph": "X", "cat": cat, "name": name, **place, "args": args}


def _launches(timeline: Timeline, rank: int) -> Iterator[Event]:
    """Yield what the host does, and one launch for every kernel."""
    program = timeline.programs.of(rank)
    for index, since, until in launches(timeline, rank):
        op, start = program.ops[index], round(since * 1e6)
        took = round(until * 1e6) - start
        if program.lanes[op.lane] == HOST:
            yield _on_host(rank, "cpu_op", op.name, start, took, {})
        else:
            name = "cudaLaunchKernelExC" if op.message else "cudaLaunchKernel"
            yield _on_host(rank, "cuda_runtime", name, start, took, {"correlation": index + 1})


def _kernels(result: Result, rank: int) -> Iterator[Event]:
    """Yield a rank's tasks that take time, in issue order."""
    timeline = result.timeline
    program = timeline.programs.of(rank)
    taking = timeline.end[rank] > timeline.start[rank]
    first, last = _moments(begins(timeline, rank)), _moments(timeline.end[rank])
    dtype = result.scenario.workload.dtype
    for op, moment, until, takes in zip(program.ops, first, last, taking, strict=True):
        lane = program.lanes[op.lane]
        if not takes or lane == HOST:
            continue
        stream = STREAM + op.lane
        args = {"device": rank, "stream": stream, "correlation": op.index + 1}
        args |= _args(op, lane, timeline.mesh, rank, dtype)
        place = {"pid": rank, "tid": stream, "ts": moment, "dur": until - moment}
        yield {"ph": "X", "cat": "kernel", "name": _title(op), **place, "args": args}


def _title(op: Op) -> str:
    """Return the name of a kernel: equal ones of all layers are called alike."""
    if op.message is not None:
        return kernel(op.message.collective)
    return op.kind.name if op.label == op.kind.name else f"{op.kind.name} {op.label}"


def _args(op: Op, lane: Lane, mesh: Mesh, rank: int, dtype: str) -> Event:
    """Return what a kernel says of itself beside its times."""
    place = {"phase": op.phase, "micro_batch": op.micro_batch, "label": op.label}
    if op.layer is not None:
        place["layer"] = op.layer
    if op.message is None:
        found = figures(op, lane, mesh, rank)
        return place | {"flops": found.flops, "bytes": found.bytes}
    ranks = lane.members(mesh, rank)
    group = {"Process Group Name": group_name(lane, ranks), "Process Group Description": lane.name}
    return place | about(op, lane, mesh, rank, dtype) | group


def _moments(times: NDArray[np.float64]) -> list[int]:
    """Return moments in whole microseconds."""
    whole: list[int] = np.rint(times * 1e6).astype(np.int64).tolist()
    return whole
