"""TP, SP, and both on a mesh: weights cut over one axis, tokens over the other."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tspsim.calibrate.reference import blocks, ops
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Layer, Normed
from tspsim.calibrate.reference.exchange import AllGather, Ring, Turn
from tspsim.calibrate.reference.mesh import Mesh


class MeshLayer(Layer):
    """A layer whose partial outputs are summed over `cut` after each block (Megatron-LM).

    Either axis may have degree 1: TP is the one, SP the other.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    device : str
    """

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__(job, mesh, device)
        exchange = Ring if job.kv == "ring" and job.spread > 1 else AllGather
        self.exchange = exchange(job, mesh.spread)

    def partial_gradients(self) -> list[Tensor]:
        """Return all of them: weights are the same on all ranks that hold other tokens."""
        return self.weights.gradients

    # ---- attention -------------------------------------------------------------------------------

    def attention(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Project, attend, project back, and sum over `cut`."""
        w = self.weights.value("attention")
        turn = blocks.project(normed(), w, self.exchange, self.rotate, keep=keep)
        self.exchange.attend(turn)
        y = blocks.output(turn, w)
        return self.mesh.cut.all_reduce(y, "activations").wait(), turn if keep else None

    def attention_backward(self, dy: Tensor, normed: Normed, tape: Turn) -> Tensor:
        """Mirror `attention`; the input's gradient is summed while the weights' are computed."""
        w, dw = self.weights.value("attention"), self.weights.grad("attention")
        assert tape.kv is not None
        tape.gathered = self.exchange.begin(tape.kv)
        do = blocks.output_backward(dy, tape, w, dw)
        dq, arriving = self.exchange.backward(do, tape)
        del do, tape
        self.rotate(dq, back=True)
        dk, dv = arriving()
        gradients = {"wq": dq, "wk": self.rotate(dk, back=True), "wv": dv}
        dx = self.mesh.cut.all_reduce(blocks.input_gradient(gradients, w), "activations")
        blocks.weight_gradients(normed(), gradients, dw)
        return dx.wait()

    # ---- MLP -------------------------------------------------------------------------------------

    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Run the local columns, and sum over `cut`."""
        w = self.weights.value("mlp")
        tape = blocks.hidden(normed(), w)
        if not keep:
            del tape[:2]
        y = ops.matmul(tape[-1], w["down"])
        return self.mesh.cut.all_reduce(y, "activations").wait(), tape if keep else None

    def mlp_backward(self, dy: Tensor, normed: Normed, tape: list[Tensor]) -> Tensor:
        """Mirror `mlp`."""
        w, dw = self.weights.value("mlp"), self.weights.grad("mlp")
        gradients = blocks.down_backward(dy, tape, w, dw)
        dx = self.mesh.cut.all_reduce(blocks.input_gradient(gradients, w), "activations")
        blocks.weight_gradients(normed(), gradients, dw)
        return dx.wait()
