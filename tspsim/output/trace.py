"""``trace.json.gz``: the timeline in Chrome's JSON, for Perfetto and everything else that reads it.

Every rank is a process and every stream of it a track; one more process, ``links``, has a track per
link. Memory stands in counters, one per kind of buffer; arrows lead from a send to its receive. The
format allows no two overlapping slices on a track, so a link that carries two flows at once has
further tracks (``d0→d1 #2``). Times are microseconds.

Format: "Trace Event Format", Google, 2016 (phases X, C, M, s, f).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tspsim.engine.timeline import Timeline
from tspsim.memory import RankMemory
from tspsim.mesh import PP, Mesh
from tspsim.output import gzipped
from tspsim.output.columns import figures, varies
from tspsim.output.passes import passes, stages_of, told
from tspsim.output.trace_arrows import arrows
from tspsim.output.trace_links import LinkTracks, choose
from tspsim.output.trace_times import Times, microseconds
from tspsim.output.trace_tracks import name_process, name_track, tid
from tspsim.program.types import BUFFER_KINDS, Op, Program

if TYPE_CHECKING:
    from tspsim.result import Result


def write(result: Result, path: Path) -> None:
    """Write the trace of a result."""
    gzipped.write(path, blocks(result))


def blocks(result: Result) -> Iterator[str]:
    """Yield the trace as text, block by block."""
    links = choose(result.timeline.transfers, result.scenario.topology)
    about = {"scenario": result.scenario.name, "links": links.note}
    yield f'{{"displayTimeUnit":"ms","otherData":{json.dumps(about)},"traceEvents":[\n'
    yield from _separated(_events(result, links))
    yield "\n]}\n"


def _separated(groups: Iterable[list[str]]) -> Iterator[str]:
    """Join the lines of all groups with commas, one block per group."""
    first = True
    for lines in groups:
        if lines:
            yield ("" if first else ",\n") + ",\n".join(lines)
            first = False


def _events(result: Result, links: LinkTracks) -> Iterator[list[str]]:
    timeline = result.timeline
    shown = timeline.shown
    times = {rank: microseconds(timeline.start[rank], timeline.end[rank]) for rank in shown}
    yield list(_names(timeline))
    texts: dict[int, list[str]] = {}
    for rank, of_rank in times.items():
        program = timeline.programs.of(rank)
        if id(program) not in texts:
            texts[id(program)] = [_tail(program, op, timeline.mesh, rank) for op in program.ops]
        yield _slices(program, texts[id(program)], timeline.mesh, rank, of_rank)
    if _staged(timeline.mesh):
        yield from (_passes(timeline, rank) for rank in shown)
    for rank in shown:
        yield _counters(rank, result.memory.ranks[rank], timeline.step_time)
    yield arrows(timeline, times)
    yield from links.events(pid=timeline.mesh.ranks)


def _names(timeline: Timeline) -> Iterator[str]:
    """Yield the names and the order of processes and tracks."""
    staged = _staged(timeline.mesh)
    for rank in timeline.shown:
        program = timeline.programs.of(rank)
        # Perfetto adds the number of the process, which must not look like one more stage.
        more = f" ({told(stages_of(program))})" if staged else ""
        yield from name_process(rank, f"rank {rank}{more}")
        for lane, found in enumerate(program.lanes):
            yield from name_track(rank, lane, found.name)
        if staged:
            yield from name_track(rank, len(program.lanes), "passes")


def _staged(mesh: Mesh) -> bool:
    """Whether ranks hold stages of a pipeline: then names say micro-batches."""
    return mesh.degree(PP) > 1


def _passes(timeline: Timeline, rank: int) -> list[str]:
    """Return the passes of micro-batches through a rank's stages, as torch writes them: ``3F0``."""
    track = tid(rank, len(timeline.programs.of(rank).lanes))
    found = list(passes(timeline, rank))
    times = microseconds([each.start for each in found], [each.end for each in found])
    lines = []
    for each, start, duration in zip(found, *times, strict=True):
        args = {"stage": each.stage, "micro_batch": each.micro_batch}
        name = f"{each.stage}{each.kind}{each.micro_batch}"
        tail = json.dumps({"name": name, "cat": "pass", "args": args})[1:]
        lines.append(
            f'{{"ph":"X","pid":{rank},"tid":{track},"ts":{start!r},"dur":{duration!r},{tail}'
        )
    return lines


def _slices(program: Program, tails: list[str], mesh: Mesh, rank: int, times: Times) -> list[str]:
    """Return a rank's tasks that take time, in issue order."""
    heads = [
        f'{{"ph":"X","pid":{rank},"tid":{tid(rank, lane)},"ts":'
        for lane in range(len(program.lanes))
    ]
    for op in program.ops:
        if varies(op):
            tails[op.index] = _tail(program, op, mesh, rank)
    rows = zip(program.ops, times.start, times.duration, tails, strict=True)
    return [
        f'{heads[op.lane]}{start!r},"dur":{duration!r},{tail}'
        for op, start, duration, tail in rows
        if duration
    ]


def _tail(program: Program, op: Op, mesh: Mesh, rank: int) -> str:
    """Return what an event says about an op beside its track and its times."""
    lane = program.lanes[op.lane]
    found = figures(op, lane, mesh, rank)
    args = {"op": op.index, "kind": op.kind.text(), "phase": op.phase, "layer": op.layer}
    args |= {"micro_batch": op.micro_batch}
    if op.message is None:
        args |= {"flops": found.flops, "bytes": found.bytes}
    else:
        args |= {"message": found.message, "received": found.received}
        if op.message.root is not None:
            args["root"] = op.message.root
    name = f"{op.name}, micro-batch {op.micro_batch}" if _staged(mesh) else op.name
    rest = {"name": name, "cat": op.kind.name, "args": args}
    return json.dumps(rest, ensure_ascii=False)[1:]


def _counters(rank: int, memory: RankMemory, step_time: float) -> list[str]:
    """Return the counters of a rank: one event where the bytes of a kind change."""
    lines = []
    times = (memory.times * 1e6).tolist()
    series = [*zip(BUFFER_KINDS, memory.by_kind, strict=True), ("total", memory.total)]
    for kind, values in series:
        if not values.any():
            continue
        changes = [0, *(np.flatnonzero(np.diff(values)) + 1).tolist()]
        head = f'{{"ph":"C","pid":{rank},"name":"memory {kind}","ts":'
        amounts = values.tolist()
        lines += [f'{head}{times[i]!r},"args":{{"bytes":{amounts[i]}}}}}' for i in changes]
        lines.append(f'{head}{step_time * 1e6!r},"args":{{"bytes":{amounts[-1]}}}}}')
    return lines
