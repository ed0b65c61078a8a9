"""A pipeline of stages: 1F1B over micro-batches, activations handed on by plain send and receive.

A stage is a `Decoder` of some of the layers, under any strategy inside; the embedding is on the
first stage, the final norm, the head and the loss on the last. Stages are the mesh's outer axis.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Decoder, Layer
from tspsim.calibrate.reference.mesh import Mesh, Pending


class Action(NamedTuple):
    """The forward or the backward of one micro-batch."""

    kind: Literal["F", "B"]
    batch: int


def one_forward_one_backward(stages: int, stage: int, batches: int) -> list[Action]:
    """Return what a stage runs: as many forwards ahead as stages follow, then one of each.

    The order is PipeDream-flush's (arXiv 2104.04473, section 2.2).
    """
    ahead = min(batches, stages - stage - 1)
    forwards = [Action("F", i) for i in range(batches)]
    backwards = [Action("B", i) for i in range(batches)]
    pairs = zip(forwards[ahead:], backwards, strict=False)
    steady = [action for pair in pairs for action in pair]
    return forwards[:ahead] + steady + backwards[batches - ahead :]


def stage_layers(layers: int, stages: int) -> list[range]:
    """Return the layers of every stage; where they do not divide, the first stages have more."""
    each, more = divmod(layers, stages)
    ends = [each * stage + min(stage, more) for stage in range(stages + 1)]
    return [range(*pair) for pair in pairwise(ends)]


class Stage(Decoder):
    """One rank's part of one stage.

    Parameters
    ----------
    job : Job
        Of the whole model and the whole batch, which micro-batches are parts of.
    mesh : Mesh
        From `connect`, with as many meshes beside each other as there are stages.
    layer : type
        The strategy's layer.
    batches : int
        Micro-batches.
    device : str
    """

    def __init__(
        self, job: Job, mesh: Mesh, layer: type[Layer], batches: int, device: str = "cpu"
    ) -> None:
        self.axis, self.batches = mesh.outer, batches
        held = stage_layers(job.shape.layers, self.axis.degree)[self.axis.coordinate]
        super().__init__(job, mesh, layer, device, held)
        self._summing = False
        self._running: dict[int, tuple[Tensor, Tensor]] = {}
        self._sent: list[Pending] = []

    def step(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Run all micro-batches; return the loss of the whole batch, on every stage.

        Parameters
        ----------
        inputs, targets : Tensor
            As a `Decoder` takes them: this rank's tokens of the whole batch. The first stage reads
            the one, the last the other.

        Returns
        -------
        Tensor
        """
        parts = list(self._parts(inputs, targets))
        loss = torch.zeros((), dtype=self.job.statistics, device=inputs.device)
        stages, stage = self.axis.degree, self.axis.coordinate
        for kind, batch in one_forward_one_backward(stages, stage, self.batches):
            if kind == "F":
                loss += self._forward(batch, *parts[batch])
            else:
                self._summing = batch == self.batches - 1
                self._backward(batch)
        while self._sent:
            self._sent.pop().wait()
        self.finish(loss if self.is_last else None)
        self._gather_gradient(inputs, [x for x, _ in parts])
        return self.axis.broadcast(loss, stages - 1, "activations").wait()

    def _parts(self, inputs: Tensor, targets: Tensor | None) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield every micro-batch's inputs and targets."""
        these = inputs.detach().chunk(self.batches)
        those = these if targets is None else targets.chunk(self.batches)
        for x, y in zip(these, those, strict=True):
            yield x.clone().requires_grad_(inputs.requires_grad), y

    def _forward(self, batch: int, x: Tensor, targets: Tensor) -> Tensor:
        """Run a micro-batch forward; return its part of the loss, 0 before the last stage."""
        stage = self.axis.coordinate
        if not self.is_first:
            shape = (len(x), self.job.tokens, self.job.shape.hidden)
            x = torch.empty(shape, dtype=self.job.torch_dtype, device=x.device)
            self.axis.receive(x, stage - 1, "activations").wait()
            x.requires_grad_()
        y = self.hidden(x)
        if self.is_last:
            y = self.loss(y, targets)
        else:
            self._sent.append(self.axis.send(y.detach(), stage + 1, "activations"))
        self._running[batch] = x, y
        return y.detach() if self.is_last else torch.zeros_like(y[0, 0, 0]).detach()

    def _backward(self, batch: int) -> None:
        """Run a micro-batch backward, from its loss or from what the next stage sends."""
        x, y = self._running.pop(batch)
        stage, dy = self.axis.coordinate, None
        if not self.is_last:
            dy = self.axis.receive(torch.empty_like(y), stage + 1, "gradients").wait()
        y.backward(dy)
        if not self.is_first:
            assert x.grad is not None
            self._sent.append(self.axis.send(x.grad, stage - 1, "gradients"))

    def sum_later(self, x: Tensor) -> None:
        """Sum over ranks what the last micro-batch has completed; before it, nothing."""
        if self._summing:
            super().sum_later(x)

    def _gather_gradient(self, inputs: Tensor, parts: list[Tensor]) -> None:
        """Give the inputs the gradient of all micro-batches, where they want one."""
        if inputs.requires_grad and self.is_first:
            inputs.grad = torch.cat([x.grad for x in parts if x.grad is not None])
