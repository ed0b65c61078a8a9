"""The skeleton that all strategies share: a layer, its backward, and one training step.

A layer is one autograd function whose backward is written out, so that what is kept, when it is
let go, and what is sent are in plain sight. Weight gradients do not pass through autograd: they
are added to the parameters' gradients, which are there from the start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.ends import ENTRY, EXIT, Embedding, Ends, Head
from tspsim.calibrate.reference.mesh import Mesh, Pending
from tspsim.calibrate.reference.weights import Shapes, Weights, shard


class Normed:
    """A norm's output: the kept one, or computed when it is asked for."""

    def __init__(self, x: Tensor, w: Tensor, *, keep: bool, kept: Tensor | None = None) -> None:
        self._x, self._w, self._keep, self.kept = x, w, keep, kept

    def __call__(self) -> Tensor:
        """Return it."""
        if self.kept is not None:
            return self.kept
        y = ops.norm(self._x, self._w)
        if self._keep:
            self.kept = y
        return y


@dataclass(slots=True)
class Tape:
    """What a layer's forward leaves for its backward; None is what has to be recomputed.

    Parameters
    ----------
    x, middle : Tensor
        The residual stream before the layer, and between attention and MLP.
    normed1, normed2 : Tensor
        Outputs of the two norms.
    attention, mlp : Any
        What the strategy's own forward left.
    """

    x: Tensor
    middle: Tensor | None = None
    normed1: Tensor | None = None
    normed2: Tensor | None = None
    attention: Any = None
    mlp: Any = None

    def take(self, name: str) -> Any:
        """Return a part, which the tape lets go of."""
        value = getattr(self, name)
        setattr(self, name, None)
        return value


class Layer(nn.Module, ABC):
    """One layer; a strategy subclasses it.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    device : str
    """

    #: Under ``recompute: full``, backward recomputes inside its own loops from `x` and `middle`;
    #: otherwise the layer's forward runs again from `x`.
    recomputes_inside = False

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__()
        self.job, self.mesh = job, mesh
        h = job.shape.hidden
        packs: dict[str, Shapes] = {
            "norms": {"norm1": (h,), "norm2": (h,)},
            **job.shape.layer(job.cut),
        }
        self.weights = Weights(packs, job.torch_dtype, device)
        self.positions = job.positions(mesh.spread.coordinate).to(device)

    # ---- what a strategy fills in ----------------------------------------------------------------

    @abstractmethod
    def attention(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Return the attention block's output and, when asked to, its tape."""

    @abstractmethod
    def attention_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Return the gradient of the attention block's input."""

    @abstractmethod
    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Return the MLP's output and, when asked to, its tape."""

    @abstractmethod
    def mlp_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Return the gradient of the MLP's input."""

    @abstractmethod
    def partial_gradients(self) -> list[Tensor]:
        """Return what of the gradients is still to be summed over `mesh.spread`."""

    # ---- forward and backward --------------------------------------------------------------------

    def rotate(self, x: Tensor, *, back: bool = False) -> Tensor:
        """Turn heads by the positions of this rank's tokens, in place."""
        return ops.rotate(x, self.positions, self.job.shape.d, self.job.scratch, back=back)

    def run(self, x: Tensor) -> tuple[Tensor, Tape]:
        """Return the layer's output and what backward reads of it."""
        full = self.job.recompute == "full"
        tape, out = self._blocks(x, keep=not full)
        assert tape.middle is not None
        y = out.add_(tape.middle)
        if full:
            return y, Tape(x, tape.middle if self.recomputes_inside else None)
        return y, tape

    def _blocks(self, x: Tensor, *, keep: bool, keep_norms: bool = True) -> tuple[Tape, Tensor]:
        """Run both blocks; return their tape and the MLP's output."""
        w = self.weights.value("norms")
        normed1 = Normed(x, w["norm1"], keep=keep and keep_norms)
        y, attention = self.attention(normed1, keep=keep)
        middle = y.add_(x)
        normed2 = Normed(middle, w["norm2"], keep=keep and keep_norms)
        out, mlp = self.mlp(normed2, keep=keep)
        return Tape(x, middle, normed1.kept, normed2.kept, attention, mlp), out

    def run_backward(self, dy: Tensor, tape: Tape) -> Tensor:
        """Return the input's gradient, written over the output's."""
        if self.job.recompute == "full" and not self.recomputes_inside:
            tape = self._blocks(tape.x, keep=True, keep_norms=False)[0]
        self._block_backward("mlp", dy, tape, "middle", 2)
        self._block_backward("attention", dy, tape, "x", 1)
        return dy

    def _block_backward(self, name: str, dy: Tensor, tape: Tape, stream: str, number: int) -> None:
        """Run one block's backward; its norm's adds to the gradient of the residual stream."""
        x = tape.take(stream)
        key = f"norm{number}"
        w = self.weights.value("norms")[key]
        normed = Normed(x, w, keep=True, kept=tape.take(f"normed{number}"))
        block = self.mlp_backward if name == "mlp" else self.attention_backward
        dnormed = block(dy, normed, tape.take(name))
        del normed
        dw = self.weights.grad("norms")[key]
        ops.norm_backward(dnormed, x, w, dw, dy, self.job.scratch)


class LayerFunction(torch.autograd.Function):
    """A layer, as autograd sees it."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, layer: Layer, model: Decoder) -> Tensor:
        """Run the layer; keep its tape."""
        y, ctx.tape = layer.run(x)
        ctx.layer, ctx.model = layer, model
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Any:
        """Run its backward; begin to sum what is partial."""
        tape, ctx.tape = ctx.tape, None
        dx = ctx.layer.run_backward(dy, tape)
        ctx.model.sum_later(*ctx.layer.partial_gradients())
        return dx, None, None


class Objective(torch.autograd.Function):
    """Half the sum of squares: its gradient is its input, whose memory it takes."""

    @staticmethod
    def forward(ctx: Any, y: Tensor, wide: torch.dtype) -> Tensor:
        """Return the objective, a scalar in single precision."""
        ctx.y = y
        return torch.linalg.vector_norm(y, dtype=wide).square_().div_(2)

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        """Return y itself."""
        y, ctx.y = ctx.y, None
        return y.mul_(dloss), None


class Decoder(nn.Module):
    """One rank's part of the model.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    layer : type
        The strategy's layer.
    device : str
    held : range, optional
        The layers that are here, when it is not all of them.
    """

    def __init__(
        self,
        job: Job,
        mesh: Mesh,
        layer: type[Layer],
        device: str = "cpu",
        held: range | None = None,
    ) -> None:
        super().__init__()
        self.job, self.mesh = job, mesh
        self.held = range(job.shape.layers) if held is None else held
        self.layers = nn.ModuleList(layer(job, mesh, device) for _ in self.held)
        ends = (ENTRY if self.is_first else ()) + (EXIT if self.is_last else ())
        self.ends = Ends(job, mesh, device, ends) if job.shape.vocab and ends else None
        self._sums: list[Pending] = []

    @property
    def is_first(self) -> bool:
        """Whether the model begins here."""
        return self.held.start == 0

    @property
    def is_last(self) -> bool:
        """Whether the model ends here."""
        return self.held.stop == self.job.shape.layers

    def step(self, inputs: Tensor, targets: Tensor | None = None) -> Tensor:
        """Run forward and backward on this rank's tokens; return the loss of the whole batch.

        Parameters
        ----------
        inputs : Tensor
            This rank's token ids, [batch, tokens]; without a vocabulary the first layer's input,
            [batch, tokens, hidden], which gets its gradient when it requires one.
        targets : Tensor, optional
            Token ids to predict.

        Returns
        -------
        Tensor
            A scalar. Gradients are added to those of the parameters and then summed over ranks:
            they have to be zero before.
        """
        loss = self.loss(self.hidden(inputs), targets)
        loss.backward()
        loss = loss.detach()
        self.finish(loss)
        return loss

    def finish(self, loss: Tensor | None) -> None:
        """Sum what is left over ranks, the loss among it, and wait for all sums."""
        if self.ends:
            self.sum_later(*self.ends.partial_gradients())
        if loss is not None and (self.mesh.cut is not self.mesh.spread or not self.ends):
            self.sum_later(loss)
        while self._sums:
            self._sums.pop().wait()

    def hidden(self, inputs: Tensor) -> Tensor:
        """Return the last layer's output for this rank's tokens, [batch, tokens, hidden]."""
        if self.ends and self.is_first:
            x = Embedding.apply(self.ends.weights.get_parameter("embedding"), self.ends, inputs)
        else:
            x = inputs
        for layer in self.layers:
            x = LayerFunction.apply(x, layer, self)
        return x

    def loss(self, y: Tensor, targets: Tensor | None) -> Tensor:
        """Return this rank's part of the loss of the last layer's output."""
        if self.ends:
            return Head.apply(y, self.ends, targets)
        return Objective.apply(y, self.job.statistics)

    def sum_later(self, *xs: Tensor) -> None:
        """Begin to sum over the ranks that hold other tokens; `step` waits for it at its end."""
        self._sums.extend(self.mesh.spread.all_reduce(x, "gradients") for x in xs)

    # ---- weights ---------------------------------------------------------------------------------

    def flat_parameters(self) -> dict[str, nn.Parameter]:
        """Return the flat parameters by name; their gradients are there from the start."""
        return dict(self.named_parameters())

    def zero_gradients(self) -> None:
        """Set all gradients to zero, in place: do not let an optimizer drop them."""
        for part in self.modules():
            if isinstance(part, Weights):
                part.gradient.zero_()

    def tensors(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Return value and gradient of every tensor by its name in the dense model."""
        found = {}
        for index, layer in zip(self.held, self.layers, strict=True):
            assert isinstance(layer, Layer)
            for name, *pair in layer.weights.tensors():
                found[f"{index}.{name}"] = (pair[0], pair[1])
        for name, *pair in self.ends.weights.tensors() if self.ends else ():
            found[name] = (pair[0], pair[1])
        return found

    def load(self, dense: dict[str, Tensor]) -> None:
        """Take this rank's shards of a dense model's weights."""
        for name, (value, _) in self.tensors().items():
            value.copy_(self.shard(name, dense[name]))

    def shard(self, name: str, dense: Tensor) -> Tensor:
        """Return this rank's part of a tensor of the dense model."""
        return shard(name, dense, self.mesh.cut.degree, self.mesh.cut.coordinate)

    def local(self, x: Tensor) -> Tensor:
        """Return this rank's tokens of a whole [batch, sequence, ...] tensor."""
        return self.job.local(x, self.mesh.spread.coordinate)
