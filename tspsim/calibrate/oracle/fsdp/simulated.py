"""The simulator's step of a config: its program, and what it holds in the order of issue."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from tspsim import memory
from tspsim.calibrate.oracle.fsdp.config import Config
from tspsim.calibrate.oracle.simulated import in_issue_order
from tspsim.kernels import IDEAL, PRESETS
from tspsim.mesh import Mesh
from tspsim.model import ITEMSIZE, ModelShape, Optimizer, Workload
from tspsim.program.types import Programs
from tspsim.registry import STRATEGIES

#: The reference's layers are fused; plain modules run op by op. Whatever is under FSDP2, autograd
#: takes over the gradients of the first micro-batch as they are: nothing is there to add to.
KERNELS = {"reference": IDEAL, "dtensor": replace(PRESETS["torch-eager"], accumulation="fused")}


def record(config: Config) -> tuple[Programs, Mesh]:
    """Return the programs of a config and their mesh."""
    job = config.job
    model = ModelShape(
        job.hidden, job.layers, job.heads, job.kv_heads, job.ffn,
        vocab=config.vocab, tied=config.tied,
    )  # fmt: skip
    workload = Workload(
        sequence=job.sequence, batch=job.batch, micro_batches=config.accumulate,
        dtype=_dtype(config), causal="off", kernels=KERNELS[job.source],
    )  # fmt: skip
    own = ITEMSIZE[job.dtype]
    optimizer = Optimizer("adamw", own, own, (("moments", 2.0 * own),), 0.0)
    strategy = STRATEGIES.get(job.strategy)(degree=job.ranks, **_sharing(config))
    return strategy.record(model, workload, optimizer), strategy.mesh()


def peak(config: Config) -> int:
    """Return the most bytes that rank 0 holds, as torch's tracker reads them: in issue order."""
    return memory.trace(in_issue_order(*record(config))).ranks[0].peak


def _dtype(config: Config) -> Any:
    return config.param_dtype or config.job.dtype


def _sharing(config: Config) -> dict[str, Any]:
    """Return how weights are sharded, as options of a strategy."""
    found: dict[str, Any] = {"dp": config.dp, "zero": 3}
    found["reduce"] = config.reduce_dtype or _dtype(config)
    if config.reshard is not None:
        found["reshard"] = config.reshard
    if config.replicate > 1:
        found["shard"] = {"degree": config.shards}
    if config.accumulate > 1:
        found["sync"] = "last"
    return found
