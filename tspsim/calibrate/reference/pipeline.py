"""A pipeline of stages: 1F1B or ZB-H1, activations handed on by plain send and receive.

A stage is a `Decoder` of some of the layers, under any strategy inside; the embedding is on the
first stage, the final norm, the head and the loss on the last. Stages are the mesh's outer axis.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Decoder, Layer
from tspsim.calibrate.reference.mesh import Mesh, Pending
from tspsim.files.errors import UserError


class Action(NamedTuple):
    """Forward, backward, or its halves (input and weight gradients) of one micro-batch."""

    kind: Literal["F", "B", "I", "W"]
    batch: int


#: What a stage runs, of how many stages, which one, and micro-batches.
Schedule: TypeAlias = Callable[[int, int, int], list[Action]]


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


def zero_bubble_h1(stages: int, stage: int, batches: int) -> list[Action]:
    """Return what a stage runs: weight gradients lag by as many micro-batches as stages precede.

    The order is ZB-H1's (arXiv 2401.10241, section 2.2).
    """
    ahead = min(batches, stages - stage)
    order = [Action("F", i) for i in range(ahead)]
    for batch in range(batches):
        order.append(Action("I", batch))
        if batch >= stage:
            order.append(Action("W", batch - stage))
        if batch + ahead < batches:
            order.append(Action("F", batch + ahead))
    return order + [Action("W", i) for i in range(max(0, batches - stage), batches)]


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
    schedule : callable
        `zero_bubble_h1` is not for TSP of more than one rank, whose weight gradients travel.
    device : str

    Raises
    ------
    UserError
        When the schedule and the strategy do not go together.
    """

    def __init__(
        self,
        job: Job,
        mesh: Mesh,
        layer: type[Layer],
        batches: int,
        schedule: Schedule = one_forward_one_backward,
        device: str = "cpu",
    ) -> None:
        self.axis, self.batches, self.schedule = mesh.outer, batches, schedule
        if job.strategy == "tsp" and job.degree > 1 and schedule is zero_bubble_h1:
            raise UserError("zero_bubble_h1: weight gradients of TSP travel, and cannot wait")
        held = stage_layers(job.shape.layers, self.axis.degree)[self.axis.coordinate]
        super().__init__(job, mesh, layer, device, held)
        self._summing = False
        self._running: dict[int, tuple[Tensor, Tensor]] = {}
        self._waiting: dict[int, list[tuple[Tensor, Tensor, Tensor]]] = {}
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
        for kind, batch in self.schedule(stages, stage, self.batches):
            if kind == "F":
                loss += self._forward(batch, *parts[batch])
            elif kind == "B":
                self._backward(batch)
            elif kind == "I":
                with ops.postponed() as self._waiting[batch]:
                    self._backward(batch)
            else:
                for operands in self._waiting.pop(batch):
                    ops.weight_gradient(*operands)
        self._end(loss)
        self._gather_gradient(inputs, [x for x, _ in parts])
        return self.axis.broadcast(loss, stages - 1, "activations").wait()

    def _end(self, loss: Tensor) -> None:
        """Wait for what was sent; sum over ranks what is partial, now that it is complete."""
        while self._sent:
            self._sent.pop().wait()
        self._summing = True
        for layer in self.layers:
            assert isinstance(layer, Layer)
            self.sum_later(*layer.partial_gradients())
        self.finish(loss if self.is_last else None)
        self._summing = False

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

    def sum_later(self, *xs: Tensor) -> None:
        """Sum over ranks what all micro-batches have completed; before, nothing."""
        if self._summing:
            super().sum_later(*xs)

    def _gather_gradient(self, inputs: Tensor, parts: list[Tensor]) -> None:
        """Give the inputs the gradient of all micro-batches, where they want one."""
        if inputs.requires_grad and self.is_first:
            inputs.grad = torch.cat([x.grad for x in parts if x.grad is not None])
