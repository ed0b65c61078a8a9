"""TSP (arXiv 2604.26294): weights and tokens cut over the same ranks; weights come to tokens.

By broadcast, owner after owner, in attention; hop by hop round a ring in the MLP. The paper prints
no backward: this one is derived. Weights come round again; the gradient of an owner's weights is
reduced to it in attention, and grows on its way round the ring, one hop behind, in the MLP.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.attention import join
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.decoder import Layer, Normed
from tspsim.calibrate.reference.exchange import AllGather, Arriving, Turn
from tspsim.calibrate.reference.mesh import Axis, Mesh, Pending
from tspsim.calibrate.reference.weights import Weights


class Broadcasts:
    """The owners' packed attention weights, one after another; the next is always on its way."""

    def __init__(self, axis: Axis, weights: Weights) -> None:
        self._axis, self._weights, self._own = axis, weights, weights.flat("attention")
        self._next = axis.broadcast(self._own, 0, "weights")

    def take(self, owner: int) -> dict[str, Tensor]:
        """Return an owner's matrices, and begin to broadcast the next owner's."""
        flat = self._next.wait()
        if owner + 1 < self._axis.degree:
            self._next = self._axis.broadcast(self._own, owner + 1, "weights")
        return self._weights.value("attention", flat)


class Reductions:
    """Packed gradients of the owners' attention weights, each reduced to its owner.

    At most one is on its way while the next is written.
    """

    def __init__(self, axis: Axis, weights: Weights) -> None:
        self._axis, self._weights = axis, weights
        self._own = weights.flat_gradient("attention")
        self._sent: list[tuple[int, Pending]] = []

    def new(self) -> Tensor:
        """Return room for an owner's gradients."""
        self.settle(1)
        return self._own if self._axis.degree == 1 else torch.empty_like(self._own)

    def send(self, flat: Tensor, owner: int) -> None:
        """Begin to sum an owner's gradients over the axis."""
        if self._axis.degree > 1:
            self._sent.append((owner, self._axis.reduce(flat, owner, "gradients")))

    def settle(self, left: int = 0) -> None:
        """Wait until at most `left` are on their way; the owner adds its sum to its gradient."""
        while len(self._sent) > left:
            owner, pending = self._sent.pop(0)
            total = pending.wait()
            if owner == self._axis.coordinate:
                self._own.add_(total)


class TspLayer(Layer):
    """One layer under TSP.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    device : str
    """

    recomputes_inside = True

    def __init__(self, job: Job, mesh: Mesh, device: str) -> None:
        super().__init__(job, mesh, device)
        self.axis, self.exchange = mesh.cut, AllGather(job, mesh.cut)
        self.full = job.recompute == "full"

    def partial_gradient(self) -> Tensor:
        """Return that of both norms, in one message: all other weights have one owner."""
        return self.weights.flat_gradient("norms")

    # ---- attention -------------------------------------------------------------------------------

    def _project(self, x: Tensor, w: dict[str, Tensor], *, keep: bool) -> Turn:
        """Project local tokens; K and V begin to travel as soon as they are there."""
        kv = x.new_empty(*x.shape[:2], 2 * w["wk"].shape[1])
        k, v = kv.chunk(2, -1)
        self.rotate(ops.matmul(x, w["wk"], k))
        ops.matmul(x, w["wv"], v)
        arriving = self.exchange.begin(kv)
        return Turn(self.rotate(ops.matmul(x, w["wq"])), kv if keep else None, arriving)

    def attention(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Loop over owners: project local tokens, gather K and V, attend, add up locally.

        With lookahead, turn r + 1 is projected, and its K and V travel, while turn r attends.
        """
        x: Tensor | None = normed()
        broadcasts, ahead, degree = Broadcasts(self.axis, self.weights), [], self.axis.degree
        tapes: list[Turn] = []
        out: Tensor | None = None
        for step in range(degree + self.job.lookahead):
            if step < degree:
                assert x is not None
                w = broadcasts.take(step)
                ahead.append((self._project(x, w, keep=keep), w))
            if step + 1 >= degree:
                x = None
            if step < self.job.lookahead:
                continue
            turn, w = ahead.pop(0)
            self.exchange.attend(turn)
            turn.gathered = None
            assert turn.o is not None
            out = ops.matmul(join(turn.o), w["wo"], out, add=out is not None)
            if keep:
                tapes.append(turn)
            del turn, w
        assert out is not None
        return out, tapes if keep else None

    def attention_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Loop over owners again: dX adds up locally, dW is reduced to its owner.

        Three stages of a turn, each `lookahead` turns behind the one before: weights and K/V are
        fetched; the core runs backward; dX and dW are computed from what it gave.
        """
        x, degree, ahead = normed(), self.axis.degree, self.job.lookahead
        broadcasts = Broadcasts(self.axis, self.weights)
        reductions = Reductions(self.axis, self.weights)
        fetched: list[Any] = []
        cored: list[Any] = []
        dx: Tensor | None = None
        for step in range(degree + 2 * ahead):
            if step < degree:
                w = broadcasts.take(step)
                fetched.append((self._fetch(x, w, tape), w))
                del w
            if 0 <= step - ahead < degree:
                turn, w = fetched.pop(0)
                cored.append(self._core(dy, turn, w, reductions))
                del turn, w
            if step >= 2 * ahead:
                dx = self._finish(x, dx, step - 2 * ahead, reductions, *cored.pop(0))
        reductions.settle()
        assert dx is not None
        return dx

    def _fetch(self, x: Tensor, w: dict[str, Tensor], tape: Any) -> Turn:
        """Return a turn whose K and V are on their way: the kept one, or one projected again."""
        if self.full:
            return self._project(x, w, keep=False)
        turn: Turn = tape.pop(0)
        assert turn.kv is not None
        turn.gathered = self.exchange.begin(turn.kv)
        return turn

    def _core(
        self, dy: Tensor, turn: Turn, w: dict[str, Tensor], reductions: Reductions
    ) -> tuple[Any, ...]:
        """Return the core's gradients, the turn's weights, and where their gradients go."""
        if self.full:
            self.exchange.attend(turn)
        assert turn.o is not None
        flat = reductions.new()
        dw = self.weights.value("attention", flat)
        ops.weight_gradient(join(turn.o), dy, dw["wo"], add=self.axis.degree == 1)
        do = ops.matmul(dy, w["wo"].t())
        dq, dkv = self.exchange.backward(do, turn)
        return dq, dkv, w, flat

    def _finish(
        self,
        x: Tensor,
        dx: Tensor | None,
        owner: int,
        reductions: Reductions,
        dq: Tensor,
        arriving: Arriving,
        w: dict[str, Tensor],
        flat: Tensor,
    ) -> Tensor:
        """Return dX with this turn's part; send its dW to the owner."""
        dw = self.weights.value("attention", flat)
        self.rotate(dq, back=True)
        dk, dv = arriving()
        self.rotate(dk, back=True)
        named = (("wq", dq), ("wk", dk), ("wv", dv))
        for name, gradient in named:
            dx = ops.matmul(gradient, w[name].t(), dx, add=dx is not None)
        for name, gradient in named:
            ops.weight_gradient(x, gradient, dw[name], add=self.axis.degree == 1)
        reductions.send(flat, owner)
        assert dx is not None
        return dx

    # ---- MLP -------------------------------------------------------------------------------------

    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """At step s rank p holds the shard of rank p - s; D steps, D - 1 hops, two slots."""
        x: Tensor | None = normed()
        flat, tapes = self.weights.flat("mlp"), []
        out: Tensor | None = None
        for step in range(self.axis.degree):
            last = step + 1 == self.axis.degree
            arriving = None if last else self.axis.shift(flat, "ring")
            w = self.weights.value("mlp", flat)
            assert x is not None
            tape = self._hidden(x, w)
            if last:
                x = None
            out = ops.matmul(tape[-1], w["down"], out, add=out is not None)
            if keep:
                tapes.append(tape)
            del tape, w
            flat = arriving.wait() if arriving else flat
        assert out is not None
        return out, tapes if keep else None

    def _hidden(self, x: Tensor, w: dict[str, Tensor]) -> list[Tensor]:
        """Return gate, up and the hidden activations."""
        gate, up = ops.matmul(x, w["gate"]), ops.matmul(x, w["up"])
        return [gate, up, ops.gated(gate, up)]

    def mlp_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Weights go round again; dW grows hop by hop and reaches its owner last."""
        x, own = normed(), self.weights.flat("mlp")
        degree, dx = self.axis.degree, None
        home: Pending | None = None
        arriving = self.axis.shift(own, "ring")
        for step in range(1, degree):
            flat = arriving.wait()
            if step + 1 < degree:
                arriving = self.axis.shift(flat, "ring")
            w = self.weights.value("mlp", flat)
            kept = self._hidden(x, w) if self.full else tape.pop(1)
            into = home.wait() if home else torch.empty_like(own)
            dx = self._mlp_step(dy, x, w, kept, into, dx, add=home is not None)
            home = self.axis.shift(into, "gradients")
            del flat, w, into
        del arriving
        w, mine = self.weights.value("mlp"), self.weights.flat_gradient("mlp")
        kept = self._hidden(x, w) if self.full else tape.pop(0)
        dx = self._mlp_step(dy, x, w, kept, mine, dx, add=True)
        if home:
            mine.add_(home.wait())
        return dx

    def _mlp_step(
        self,
        dy: Tensor,
        x: Tensor,
        w: dict[str, Tensor],
        kept: list[Tensor],
        into: Tensor,
        dx: Tensor | None,
        *,
        add: bool,
    ) -> Tensor:
        """Return dX with one shard's part; write or add its dW into a flat gradient."""
        dw = self.weights.value("mlp", into)
        ops.weight_gradient(kept.pop(), dy, dw["down"], add=add)
        dhidden = ops.matmul(dy, w["down"].t())
        up, gate = kept.pop(), kept.pop()
        dgate, dup = ops.gated_backward(dhidden, gate, up)
        del dhidden, gate, up
        dx = ops.matmul(dgate, w["gate"].t(), dx, add=dx is not None)
        ops.matmul(dup, w["up"].t(), dx, add=True)
        ops.weight_gradient(x, dgate, dw["gate"], add=add)
        ops.weight_gradient(x, dup, dw["up"], add=add)
        return dx
