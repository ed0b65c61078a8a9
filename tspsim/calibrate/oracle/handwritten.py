"""The reference implementation's step under a fake process group."""

from __future__ import annotations

from typing import Any

import torch

from tspsim.calibrate import reference
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Numbers
from tspsim.calibrate.oracle.observe import observe
from tspsim.calibrate.oracle.world import fake_world
from tspsim.calibrate.reference import Shape


def pieces(job: Job) -> dict[str, int]:
    """Return the reference's piece sizes: larger than on a device, for fewer fake ops to run.

    The bytes of a piece count as any others.
    """
    return {"scratch": job.sequence * job.hidden // 32, "tile": job.sequence // 16}


def run(job: Job) -> Numbers:
    """Run a job's step on rank 0 of a fake world; return what torch says."""
    shape = Shape(job.hidden, job.layers, job.heads, job.kv_heads, job.ffn)
    how: Any = {**dict(job.options), "recompute": job.recompute, "dtype": job.dtype, **pieces(job)}
    ours = reference.Job(shape, job.sequence, job.batch, job.strategy, causal="off", **how)
    with fake_world(job.ranks) as fake:
        mesh = reference.connect(ours)
        with fake:
            return _run(ours, mesh)


def _run(job: reference.Job, mesh: reference.Mesh) -> Numbers:
    model = reference.build(job, mesh)
    optimizer = torch.optim.AdamW(model.parameters(), fused=True)
    optimizer.step()  # makes its states
    shape = (job.batch, job.tokens, job.shape.hidden)
    x = [torch.randn(shape, dtype=job.torch_dtype, requires_grad=True)]

    def step() -> None:
        model.step(x.pop())  # the caller keeps no hold of the input
        optimizer.step()

    return observe(step, model, optimizer, *x, collect=False)
