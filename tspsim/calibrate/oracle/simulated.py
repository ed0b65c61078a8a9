"""The simulator's numbers of a job, from the program that it would simulate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tspsim import memory
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Call, Numbers, moments
from tspsim.engine.checks import dryrun
from tspsim.engine.simulate import Setup
from tspsim.engine.simulate import simulate as play
from tspsim.engine.timeline import Timeline
from tspsim.files.errors import ScenarioError
from tspsim.mesh import Mesh
from tspsim.model import ITEMSIZE, ModelShape, Optimizer, Workload
from tspsim.program.types import Op, PerCoordinate, Program, Programs
from tspsim.registry import STRATEGIES
from tspsim.topology.load import load


def record(job: Job) -> tuple[Programs, Mesh]:
    """Return the programs of a job and their mesh.

    Raises
    ------
    ScenarioError
        When the strategy cannot split the job's model that way.
    """
    shape = (job.hidden, job.layers, job.heads, job.kv_heads, job.ffn)
    model = ModelShape(*shape, mlp=job.mlp, norm=job.norm)
    workload = Workload(
        job.sequence, job.batch, dtype=job.dtype, recompute=job.recompute, causal="off"
    )
    size = ITEMSIZE[job.dtype]
    optimizer = Optimizer("adamw", size, size, (("moments", 2.0 * size),))
    strategy = STRATEGIES.get(job.strategy)(**dict(job.options))
    problems = list(strategy.all_problems(model, workload))
    if problems:
        raise ScenarioError([f"{job.title}: {problem.message}" for problem in problems])
    programs, mesh = strategy.record(model, workload, optimizer), strategy.mesh()
    dryrun.check(programs, mesh)
    return programs, mesh


def simulate(job: Job) -> Numbers:
    """Return what rank 0 computes, sends and holds, in issue order.

    See `played_peak` for the engine's own order.
    """
    programs, mesh = record(job)
    program, timeline = programs.of(0), in_issue_order(programs, mesh)
    held = memory.trace(timeline).ranks[0]
    at = np.searchsorted(held.times, timeline.start[0], side="right") - 1
    flops = [_flops(op) for op in program.ops]
    calls = (Call(op.message.collective, op.message.bytes) for op in program.ops if op.message)
    at_peak = {str(kind): size for kind, size in held.at_peak.items() if size}
    return Numbers(sum(flops), tuple(calls), at_peak, moments(flops, held.total[at].tolist()))


def in_issue_order(programs: Programs, mesh: Mesh) -> Timeline:
    """Return a timeline to read memory on as torch's trackers do: in the order of issue.

    Every compute op takes one tick, communication none. A message is issued behind all that stands
    before it, also one that begins earlier because the host runs ahead.
    """
    programs = replace(programs, roles=tuple(map(_issued, programs.roles)))
    lengths = np.array([op.message is None for op in programs.of(0).ops], dtype=np.float64)
    ends = lengths.cumsum()
    ranks = range(mesh.ranks)
    ticks = ends - lengths
    return Timeline(programs, mesh, tuple(ticks for _ in ranks), tuple(ends for _ in ranks), ())


def _issued(program: Program) -> Program:
    """Return a program whose messages wait for the compute op that stands before them."""
    waits, last = [], -1
    for op, found in zip(program.ops, program.waits, strict=True):
        behind = {last} if op.message is not None and last >= 0 else set()
        waits.append(tuple(sorted({*found, *behind})))
        last = last if op.lane else op.index
    return replace(program, waits=tuple(waits))


def played_peak(job: Job) -> int:
    """Return the largest peak of any rank when the engine plays the step.

    On links so fast that they never hold anything up.
    """
    link = {"bandwidth": "1e9 GB/s", "latency": "0 ns"}
    fabric = {"kind": "full", "ranks": job.ranks, "link": link, "device": "h100-sxm"}
    programs, mesh = record(job)
    return memory.trace(play(Setup(programs, mesh, load(fabric), job.dtype))).peak


def _flops(op: Op) -> int:
    if op.work is None:
        return 0
    return op.work.works[0].flops if isinstance(op.work, PerCoordinate) else op.work.flops
