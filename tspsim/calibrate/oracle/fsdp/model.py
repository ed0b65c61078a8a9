"""The decoders that FSDP2 shards, and the step that they run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tspsim.calibrate import reference
from tspsim.calibrate.oracle.dtensor import DTYPES, HalfSquares, Layer
from tspsim.calibrate.oracle.fsdp.config import Config
from tspsim.calibrate.oracle.handwritten import pieces


class Plain(nn.Module):
    """A decoder of plain torch modules; its loss is computed outside of what FSDP2 wraps."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        job, vocab = config.job, config.vocab
        self.embedding = nn.Embedding(vocab, job.hidden) if vocab else None
        self.groups = nn.ModuleList(Layer(job) for _ in range(job.layers))
        self.final_norm = nn.RMSNorm(job.hidden) if vocab else None
        self.head = nn.Linear(job.hidden, vocab, bias=False) if vocab else None
        if config.tied and self.head and self.embedding:
            self.head.weight = self.embedding.weight

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, or the last layer's output."""
        x = self.embedding(x) if self.embedding else x
        for layer in self.groups:
            x = layer(x)
        return self.head(self.final_norm(x)) if self.head and self.final_norm else x

    def loss(self, inputs: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of a micro-batch."""
        y = self(inputs)
        if self.head is None:
            return HalfSquares.apply(y)
        return F.cross_entropy(y.flatten(0, 1), targets.flatten())


def reference_job(config: Config) -> reference.Job:
    """Return the reference's job of one replica."""
    job = config.job
    shape = reference.Shape(job.hidden, job.layers, job.heads, job.kv_heads, job.ffn, config.vocab)
    how: Any = {**dict(job.options), **pieces(job)}
    how |= {"recompute": job.recompute, "dtype": job.dtype}
    return reference.Job(shape, job.sequence, job.batch, job.strategy, causal="off", **how)


def mesh(config: Config) -> DeviceMesh:
    """Return the mesh of replicas."""
    names = ("replicate", "shard", "inside")
    sizes = (config.replicate, config.shards, config.job.ranks)
    whole = init_device_mesh("cpu", sizes, mesh_dim_names=names)
    return whole["replicate", "shard"] if config.replicate > 1 else whole["shard"]


def shard(config: Config, model: Plain | reference.Sharded, replicas: DeviceMesh) -> None:
    """Apply FSDP2: a group per layer, the root around what is left."""
    policy = MixedPrecisionPolicy(DTYPES.get(config.param_dtype), DTYPES.get(config.reduce_dtype))
    for group in model.groups:
        how: Any = {"mp_policy": policy, "reshard_after_forward": config.reshard}
        fully_shard(group, mesh=replicas, **how)
    fully_shard(model, mesh=replicas, mp_policy=policy)


def batch(config: Config) -> tuple[Tensor, Tensor]:
    """Return inputs and targets of one micro-batch on this rank."""
    job = config.job
    tokens = job.sequence // job.ranks
    ids = torch.zeros(job.batch, tokens, dtype=torch.int64)
    if config.vocab:
        return ids, ids
    x = torch.randn(job.batch, tokens, job.hidden, dtype=DTYPES[job.dtype], requires_grad=True)
    return x, ids


def run_batches(
    model: Plain | reference.Sharded,
    batches: list[tuple[Tensor, Tensor]],
    between: Callable[[], None] = lambda: None,
) -> None:
    """Run the micro-batches of a step; gradients are reduced in the last only."""
    assert isinstance(model, FSDPModule)
    while batches:
        model.set_requires_gradient_sync(len(batches) == 1)
        model.loss(*batches.pop(0)).backward()
        between()
