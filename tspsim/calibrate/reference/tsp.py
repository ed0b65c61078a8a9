"""TSP (arXiv 2604.26294): weights and tokens cut over the same ranks; weights come to tokens.

By broadcast, owner after owner, in attention; hop by hop round a ring in the MLP. The paper prints
no backward: this one is derived. Weights come round again; the gradient of an owner's weights is
reduced to it in attention, and grows on its way round the ring, one hop behind, in the MLP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor

from tspsim.calibrate.reference import blocks, ops
from tspsim.calibrate.reference.blocks import Shard
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

    def take(self, owner: int) -> Shard:
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
        self._sent: list[tuple[int, Pending]] = []

    @property
    def _own(self) -> Tensor:
        return self._weights.flat_gradient("attention")

    def new(self) -> Tensor:
        """Return room for an owner's gradients."""
        self.settle(1)
        own = self._axis.degree == 1
        return self._own if own else torch.empty_like(self._weights.flat("attention"))

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


@dataclass(frozen=True, slots=True)
class Cored:
    """A turn of backward after the core: dq, what waits for dk and dv, W, and where dW goes."""

    dq: Tensor
    dkv: Arriving
    w: Shard
    dw: Tensor


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

    def partial_gradients(self) -> list[Tensor]:
        """Return those of both norms, in one message: all other weights have one owner."""
        return [self.weights.flat_gradient("norms")]

    # ---- attention -------------------------------------------------------------------------------

    def _project(self, x: Tensor, w: Shard, *, keep: bool) -> Turn:
        return blocks.project(x, w, self.exchange, self.rotate, keep=keep)

    def attention(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """Loop over owners: project local tokens, gather K and V, attend, add up locally.

        With lookahead, turn r + 1 is projected, and its K and V travel, while turn r attends.
        """
        x, degree, ahead = normed(), self.axis.degree, self.job.lookahead
        broadcasts = Broadcasts(self.axis, self.weights)
        projected: list[tuple[Turn, Shard]] = []
        tape: list[Turn] = []
        out: Tensor | None = None
        for step in range(degree + ahead):
            if step < degree:
                w = broadcasts.take(step)
                projected.append((self._project(x, w, keep=keep), w))
            if step >= ahead:
                turn, w = projected.pop(0)
                self.exchange.attend(turn)
                out = blocks.output(turn, w, out)
                tape += [turn] if keep else []
                del turn, w
        assert out is not None
        return out, tape if keep else None

    def attention_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Loop over owners again: dX adds up locally, dW is reduced to its owner.

        Three stages of a turn, each `lookahead` turns behind the one before: weights and K/V are
        fetched; the core runs backward; dX and dW are computed from what it gave.
        """
        x, degree, ahead = normed(), self.axis.degree, self.job.lookahead
        broadcasts = Broadcasts(self.axis, self.weights)
        reductions = Reductions(self.axis, self.weights)
        fetched: list[tuple[Turn, Shard]] = []
        cored: list[Cored] = []
        dx: Tensor | None = None
        for step in range(degree + 2 * ahead):
            if step < degree:
                w = broadcasts.take(step)
                fetched.append((self._fetch(x, w, tape), w))
                del w
            if ahead <= step < degree + ahead:
                cored.append(self._core(dy, *fetched.pop(0), reductions.new()))
            if step >= 2 * ahead:
                turn = cored.pop(0)
                dx = self._finish(x, turn, dx)
                reductions.send(turn.dw, step - 2 * ahead)
                del turn
        reductions.settle()
        assert dx is not None
        return dx

    def _fetch(self, x: Tensor, w: Shard, tape: Any) -> Turn:
        """Return a turn whose K and V are on their way: the kept one, or one projected again."""
        if self.full:
            return self._project(x, w, keep=False)
        turn: Turn = tape.pop(0)
        assert turn.kv is not None
        turn.gathered = self.exchange.begin(turn.kv)
        return turn

    def _core(self, dy: Tensor, turn: Turn, w: Shard, flat: Tensor) -> Cored:
        """Run the core's backward; dWo is written into the owner's gradients."""
        if self.full:
            self.exchange.attend(turn, again=True)
        dw = self.weights.value("attention", flat)
        do = blocks.output_backward(dy, turn, w, dw, add=self.axis.degree == 1)
        return Cored(*self.exchange.backward(do, turn), w, flat)

    def _finish(self, x: Tensor, turn: Cored, dx: Tensor | None) -> Tensor:
        """Return dX with this turn's part; write the rest of dW."""
        self.rotate(turn.dq, back=True)
        dk, dv = turn.dkv()
        gradients = {"wq": turn.dq, "wk": self.rotate(dk, back=True), "wv": dv}
        dx = blocks.input_gradient(gradients, turn.w, dx)
        dw = self.weights.value("attention", turn.dw)
        blocks.weight_gradients(x, gradients, dw, add=self.axis.degree == 1)
        return dx

    # ---- MLP -------------------------------------------------------------------------------------

    def mlp(self, normed: Normed, *, keep: bool) -> tuple[Tensor, Any]:
        """At step s rank p holds the shard of rank p - s; D steps, D - 1 hops, two slots."""
        x, flat, degree = normed(), self.weights.flat("mlp"), self.axis.degree
        tapes: list[list[Tensor]] = []
        out: Tensor | None = None
        for step in range(degree):
            arriving = self.axis.shift(flat, "ring") if step + 1 < degree else None
            w = self.weights.value("mlp", flat)
            tape = blocks.hidden(x, w)
            out = ops.matmul(tape[-1], w["down"], out, add=out is not None)
            tapes += [tape] if keep else []
            del tape, w
            flat = arriving.wait() if arriving else flat
        assert out is not None
        return out, tapes if keep else None

    def mlp_backward(self, dy: Tensor, normed: Normed, tape: Any) -> Tensor:
        """Weights go round again; dW grows hop by hop and reaches its owner last."""
        x, own, degree = normed(), self.weights.flat("mlp"), self.axis.degree
        dx: Tensor | None = None
        home: Pending | None = None
        arriving = self.axis.shift(own, "ring")
        for step in range(1, degree):
            flat = arriving.wait()
            if step + 1 < degree:
                arriving = self.axis.shift(flat, "ring")
            w = self.weights.value("mlp", flat)
            kept = blocks.hidden(x, w) if self.full else tape.pop(1)
            into = home.wait if home else partial(torch.empty_like, own)
            dx, dw = self._mlp_step(dy, x, w, kept, into, dx, add=home is not None)
            home = self.axis.shift(dw, "gradients")
            del flat, w, into, dw
        del arriving
        w, mine = self.weights.value("mlp"), partial(self.weights.flat_gradient, "mlp")
        kept = blocks.hidden(x, w) if self.full else tape.pop(0)
        dx, _ = self._mlp_step(dy, x, w, kept, mine, dx)
        if home:
            mine().add_(home.wait())
        return dx

    def _mlp_step(
        self,
        dy: Tensor,
        x: Tensor,
        w: Shard,
        kept: list[Tensor],
        into: Callable[[], Tensor],
        dx: Tensor | None,
        *,
        add: bool = True,
    ) -> tuple[Tensor, Tensor]:
        """Return dX with one shard's part, and the flat gradient that its dW is added to (or put).

        That one is asked for when dX is computed: it arrives meanwhile.
        """
        hidden = kept.pop()
        gradients = blocks.hidden_backward(dy, kept, w)
        dx = blocks.input_gradient(gradients, w, dx)
        flat = into()
        dw = self.weights.value("mlp", flat)
        ops.weight_gradient(hidden, dy, dw["down"], add=add)
        del hidden
        blocks.weight_gradients(x, gradients, dw, add=add)
        return dx, flat
