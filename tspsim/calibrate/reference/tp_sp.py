"""TP, SP, and both on a mesh: weights cut over one axis, tokens over the other."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.attention import join
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
        self.exchange = (Ring if job.kv == "ring" and job.spread > 1 else AllGather)(
            job, mesh.spread
        )

    def partial_gradient(self) -> Tensor:
        """Return all of it: weights are the same on all ranks that hold other tokens."""
        return self.weights.gradient

    # ---- attention -------------------------------------------------------------------------------

    def attention(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Project, attend, project back, and sum over `cut`."""
        w, x = self.weights.value("attention"), normed()
        kv = x.new_empty(*x.shape[:2], 2 * w["wk"].shape[1])
        k, v = kv.chunk(2, -1)
        self.rotate(ops.matmul(x, w["wk"], k))
        ops.matmul(x, w["wv"], v)
        arriving = self.exchange.begin(kv)
        q = self.rotate(ops.matmul(x, w["wq"]))
        del x, k, v
        turn = Turn(q, kv, arriving)
        self.exchange.attend(turn)
        turn.gathered = None
        assert turn.o is not None
        y = ops.matmul(join(turn.o), w["wo"])
        return self.mesh.cut.all_reduce(y, "activations").wait(), turn if keep else None

    def attention_backward(self, dy: Tensor, normed: Normed, tape: Turn) -> Tensor:
        """Mirror `attention`; the input's gradient is summed while the weights' are computed."""
        w, dw = self.weights.value("attention"), self.weights.grad("attention")
        assert tape.kv is not None
        assert tape.o is not None
        tape.gathered = self.exchange.begin(tape.kv)
        ops.weight_gradient(join(tape.o), dy, dw["wo"])
        do = ops.matmul(dy, w["wo"].t())
        dq, arriving = self.exchange.backward(do, tape)
        del do, tape
        self.rotate(dq, back=True)
        dk, dv = arriving()
        self.rotate(dk, back=True)
        dx = ops.matmul(dq, w["wq"].t())
        ops.matmul(dk, w["wk"].t(), dx, add=True)
        ops.matmul(dv, w["wv"].t(), dx, add=True)
        summed = self.mesh.cut.all_reduce(dx, "activations")
        x = normed()
        for name, gradient in (("wq", dq), ("wk", dk), ("wv", dv)):
            ops.weight_gradient(x, gradient, dw[name])
        return summed.wait()

    # ---- MLP -------------------------------------------------------------------------------------

    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Run the local columns, and sum over `cut`."""
        w, x = self.weights.value("mlp"), normed()
        gate, up = ops.matmul(x, w["gate"]), ops.matmul(x, w["up"])
        del x
        hidden = ops.gated(gate, up)
        tape = [gate, up, hidden] if keep else None
        del gate, up
        y = ops.matmul(hidden, w["down"])
        del hidden
        return self.mesh.cut.all_reduce(y, "activations").wait(), tape

    def mlp_backward(self, dy: Tensor, normed: Normed, tape: list[Tensor]) -> Tensor:
        """Mirror `mlp`."""
        w, dw = self.weights.value("mlp"), self.weights.grad("mlp")
        ops.weight_gradient(tape.pop(), dy, dw["down"])
        dhidden = ops.matmul(dy, w["down"].t())
        up, gate = tape.pop(), tape.pop()
        dgate, dup = ops.gated_backward(dhidden, gate, up)
        del dhidden, gate, up
        dx = ops.matmul(dgate, w["gate"].t())
        ops.matmul(dup, w["up"].t(), dx, add=True)
        summed = self.mesh.cut.all_reduce(dx, "activations")
        x = normed()
        ops.weight_gradient(x, dgate, dw["gate"])
        ops.weight_gradient(x, dup, dw["up"])
        return summed.wait()
