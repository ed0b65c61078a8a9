"""TP, and TP with sequence parallel, as torch's own DTensor does them.

The layer below is plain torch for one device. What is parallel about it is DTensor's doing: the
plan only names styles. `PrepareModuleInput` stands before attention and before the MLP, so that
the projections share one input and its gradient is summed once: Megatron's two all_reduces in
forward and two in backward. Activations are [tokens, batch, hidden], as Megatron has them: a
gather or scatter over the first dim needs no copy.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Replicate, Shard
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    SequenceParallel,
    parallelize_module,
)
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop

from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Numbers
from tspsim.calibrate.oracle.observe import observe
from tspsim.calibrate.oracle.world import fake_world

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


class Attention(nn.Module):
    """Attention with separate projections and without positions."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.head_dim = job.hidden // job.heads
        kv = self.head_dim * job.kv_heads
        self.wq = nn.Linear(job.hidden, job.hidden, bias=False)
        self.wk = nn.Linear(job.hidden, kv, bias=False)
        self.wv = nn.Linear(job.hidden, kv, bias=False)
        self.wo = nn.Linear(job.hidden, job.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, the shape of x."""
        q, k, v = (
            w(x).unflatten(-1, (-1, self.head_dim)).permute(1, 2, 0, 3)
            for w in (self.wq, self.wk, self.wv)
        )
        o = F.scaled_dot_product_attention(q, k, v, enable_gqa=q.shape[1] != k.shape[1])
        return self.wo(o.permute(2, 0, 1, 3).flatten(-2))


class Mlp(nn.Module):
    """Gated (SiLU) or plain (tanh GELU) MLP."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        gated = job.mlp == "gated"
        self.gate = nn.Linear(job.hidden, job.ffn, bias=False) if gated else None
        self.up = nn.Linear(job.hidden, job.ffn, bias=False)
        self.down = nn.Linear(job.ffn, job.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return the block's output, the shape of x."""
        if self.gate is None:
            return self.down(F.gelu(self.up(x), approximate="tanh"))
        return self.down(F.silu(self.gate(x)) * self.up(x))


class Layer(nn.Module):
    """A pre-norm layer."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        norm = nn.RMSNorm if job.norm == "rmsnorm" else nn.LayerNorm
        self.norm1, self.norm2 = norm(job.hidden), norm(job.hidden)
        self.attention, self.mlp = Attention(job), Mlp(job)

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output, the shape of x."""
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class Stack(nn.Module):
    """Layers one after another."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(job) for _ in range(job.layers))
        self.recompute = job.recompute == "full"

    def forward(self, x: Tensor) -> Tensor:
        """Return the stack's output, the shape of x."""
        for layer in self.layers:
            x = checkpoint(layer, x, use_reentrant=False) if self.recompute else layer(x)
        return x


class HalfSquares(torch.autograd.Function):
    """Half the sum of squares, whose gradient is its input: no further bytes."""

    @staticmethod
    def forward(ctx: Any, y: Tensor) -> Tensor:
        """Return the loss of an output."""
        ctx.save_for_backward(y)
        return torch.linalg.vector_norm(y, dtype=torch.float32) ** 2 / 2

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Tensor:  # noqa: ARG004
        """Return the output."""
        (y,) = ctx.saved_tensors
        return y


def plan(job: Job) -> dict[str, Any]:
    """Return DTensor's styles for one layer."""
    between = Shard(0) if job.option("sequence_parallel") else Replicate()
    entry = PrepareModuleInput(
        input_layouts=(between,), desired_input_layouts=(Replicate(),), use_local_output=False
    )
    styles: dict[str, Any] = {"attention": entry, "mlp": entry}
    for name in ("attention.wq", "attention.wk", "attention.wv", "mlp.up"):
        styles[name] = ColwiseParallel()
    if job.mlp == "gated":
        styles["mlp.gate"] = ColwiseParallel()
    for name in ("attention.wo", "mlp.down"):
        styles[name] = RowwiseParallel(output_layouts=between)
    if job.option("sequence_parallel"):
        styles["norm1"] = styles["norm2"] = SequenceParallel(sequence_dim=0, use_local_output=True)
    return styles


def run(job: Job) -> Numbers:
    """Run a job's step on rank 0 of a fake world; return what torch says."""
    with fake_world(job.ranks) as fake:
        mesh = init_device_mesh("cpu", (job.ranks,))
        with fake, set_checkpoint_early_stop(False):
            return _run(job, mesh)


def _run(job: Job, mesh: DeviceMesh) -> Numbers:
    torch.set_default_dtype(DTYPES[job.dtype])
    net = Stack(job)
    for layer in net.layers:
        parallelize_module(layer, mesh, plan(job))
    cuts: list[Tensor] = []
    rest: list[Tensor] = []  # a fused step takes only one sort of tensor at a time
    for parameter in net.parameters():
        (cuts if isinstance(parameter, DTensor) else rest).append(parameter)
    groups = [{"params": group} for group in (cuts, rest) if group]
    optimizer = torch.optim.AdamW(groups, fused=True)
    cut = job.ranks if job.option("sequence_parallel") else 1
    shape = (job.sequence // cut, job.batch, job.hidden)

    def step(x: Tensor) -> None:
        loss = HalfSquares.apply(net(x))
        loss.backward()
        if cut > 1:
            dist.all_reduce(loss.detach())
        optimizer.step()

    def start() -> Tensor:
        return torch.randn(shape, requires_grad=True)

    step(start())  # makes gradients, which the next step adds to, and optimizer states
    x = start()
    return observe(lambda: step(x), net, optimizer, x, collect=net.recompute)
