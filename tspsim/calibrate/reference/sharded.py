"""Fully sharded data parallelism: torch's own `fully_shard` around the reference's layers.

One group per layer, and a root group of embedding, final norm and head. What FSDP2 gathers and
scatters is a rank's own shard under the strategy inside, over the mesh's outer axis: the replicas.
Weight gradients pass through autograd here, since that is where FSDP2 takes them from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import fully_shard

from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Layer, Objective
from tspsim.calibrate.reference.ends import ENTRY, EXIT, Ends
from tspsim.calibrate.reference.mesh import Mesh
from tspsim.calibrate.reference.weights import Weights, shard, views


class LayerGroup(nn.Module):
    """A layer that `fully_shard` can take.

    Parameters
    ----------
    layer : Layer
    """

    def __init__(self, layer: Layer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """Return the layer's output."""
        return LayerFunction.apply(x, self.layer, *self.layer.weights.parameters())


class LayerFunction(torch.autograd.Function):
    """A layer, as autograd sees it; the parameters are inputs only to be given gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, *_: Tensor) -> Tensor:
        """Run the layer; keep its tape."""
        y, ctx.tape = layer.run(x)
        ctx.layer = layer
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        """Run its backward, and sum over ranks with other tokens what is partial."""
        layer, tape, ctx.tape = ctx.layer, ctx.tape, None
        layer.weights.open(adds=_whole(layer.mesh))
        dx = layer.run_backward(dy, tape)
        _sum(layer.mesh, layer.partial_gradients())
        return dx, None, *layer.weights.close()


class Entry(torch.autograd.Function):
    """The embedding, as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, ids: Tensor, ends: Ends, *_: Tensor) -> Tensor:
        """Look up."""
        ctx.ends, ctx.ids = ends, ids
        return ends.embed(ids)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> Any:
        """Return the table's gradient."""
        ctx.ends.weights.open(adds=_whole(ctx.ends.mesh))
        ctx.ends.embed_backward(dx, ctx.ids)
        return None, None, *_summed(ctx.ends)


class Exit(torch.autograd.Function):
    """Norm, head and loss, as autograd sees them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ends: Ends, targets: Tensor, *_: Tensor) -> Tensor:
        """Return the loss; keep its gradient, which has taken the logits' place."""
        loss, ctx.tape = ends.head_forward(x, targets)
        ctx.ends, ctx.x = ends, x
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        """Return the gradients of the input and of the weights."""
        ends, (x, ctx.x), (tape, ctx.tape) = ctx.ends, (ctx.x, None), (ctx.tape, None)
        ends.weights.open(adds=_whole(ends.mesh))
        tape[0].mul_(dloss)
        dx = ends.head_backward(x, tape)
        return dx, None, None, *_summed(ends)


def _whole(mesh: Mesh) -> bool:
    """Whether gradients need no sum over ranks with other tokens before they are added up."""
    return mesh.spread.degree == 1


def _summed(ends: Ends) -> list[Tensor | None]:
    """Return an end's gradients; what is partial is summed over ranks with other tokens."""
    _sum(ends.mesh, ends.partial_gradients())
    return ends.weights.close()


def _sum(mesh: Mesh, partial: list[Tensor]) -> None:
    """Sum gradients over ranks with other tokens."""
    for gradient in partial:
        mesh.spread.all_reduce(gradient, "gradients").wait()


class Sharded(nn.Module):
    """One rank's part of a model whose weights are sharded over replicas.

    Parameters
    ----------
    job : Job
        Of one replica: its batch is this replica's.
    mesh : Mesh
        From `connect`, with as many meshes beside each other as there are replicas.
    layer : type
        The strategy's layer.
    device : str
    """

    def __init__(self, job: Job, mesh: Mesh, layer: type[Layer], device: str = "cpu") -> None:
        super().__init__()
        self.job, self.mesh = job, mesh
        layers = range(job.shape.layers)
        self.groups = nn.ModuleList(LayerGroup(layer(job, mesh, device)) for _ in layers)
        self.ends = [Ends(job, mesh, device, held) for held in (ENTRY, EXIT) if job.shape.vocab]
        self.root = nn.ModuleList(ends.weights for ends in self.ends)
        self.zero_grad()
        for _, weights in self._packed():
            weights.close()

    def load(self, dense: dict[str, Tensor]) -> None:
        """Take this rank's parts of a dense model's weights; call it before `shard`."""
        cut = self.mesh.cut
        for prefix, weights in self._packed():
            for pack in weights.packs:
                for name, value in weights.value(pack).items():
                    part = shard(name, dense[prefix + name], cut.degree, cut.coordinate)
                    value.copy_(part)

    def shard(self, replicas: DeviceMesh, **how: Any) -> None:
        """Have every layer and the root sharded over replicas by FSDP2, which `how` is told."""
        for group in self.groups:
            fully_shard(group, mesh=replicas, **how)
        fully_shard(self, mesh=replicas, **{**how, "reshard_after_forward": None})

    def forward(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return this rank's part of its replica's loss."""
        x = inputs
        if self.ends:
            x = Entry.apply(x, self.ends[0], *self.root[0].parameters())
        for group in self.groups:
            x = group(x)
        if self.ends:
            return Exit.apply(x, self.ends[1], targets, *self.root[1].parameters())
        return Objective.apply(x, self.job.statistics)

    def loss(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Return this rank's part of its replica's loss; what begins a step under FSDP2."""
        return self(inputs, targets)

    def step(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Run forward and backward on this rank's tokens; return the mean loss of the replicas."""
        loss = self.loss(inputs, targets)
        loss.backward()
        loss = loss.detach()
        if self.mesh.cut is not self.mesh.spread or not self.ends:
            self.mesh.spread.all_reduce(loss, "gradients").wait()
        return self.mesh.outer.all_reduce(loss, "gradients").wait() / self.mesh.outer.degree

    def gradients(self) -> dict[str, Tensor]:
        """Return the mean gradient of every tensor by its name, gathered over the replicas."""
        found: dict[str, Tensor] = {}
        for prefix, weights in self._packed():
            for pack, parameter in weights.named_parameters():
                whole = views(weights.packs[pack], parameter.grad.full_tensor())
                found |= {prefix + name: gradient for name, gradient in whole.items()}
        return found

    def _packed(self) -> list[tuple[str, Weights]]:
        """Return all weights, with what stands before their names in the dense model."""
        layers = [(f"{i}.", group.layer.weights) for i, group in enumerate(self.groups)]
        return layers + [("", ends.weights) for ends in self.ends]
