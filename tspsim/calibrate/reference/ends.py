"""Embedding, and final norm, head and cross-entropy, over a vocabulary cut over ranks.

Every rank holds some rows of both tables (Megatron-LM, arXiv 1909.08053). Under TSP tokens are cut
over the same ranks: they are gathered for the rows that a rank holds, and results are scattered.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tspsim.calibrate.reference import ops
from tspsim.calibrate.reference.config import Job
from tspsim.calibrate.reference.mesh import Mesh, Pending
from tspsim.calibrate.reference.weights import Shapes, Weights

#: What the two ends of the model hold.
ENTRY, EXIT = ("embedding",), ("final_norm", "head")


class Ends:
    """Both ends of one rank's part of the model, or one of them.

    Parameters
    ----------
    job : Job
    mesh : Mesh
    device : str
    held : tuple of str
        Which of the tensors are here: a pipeline's first stage has the embedding alone.
    """

    def __init__(
        self, job: Job, mesh: Mesh, device: str, held: tuple[str, ...] = ENTRY + EXIT
    ) -> None:
        self.job, self.mesh, self.axis = job, mesh, mesh.cut
        self.gathers = job.strategy == "tsp" and self.axis.degree > 1
        h, rows = job.shape.hidden, job.shape.vocab // self.axis.degree
        packs: dict[str, Shapes] = {"final_norm": {"final_norm": (h,)}}
        packs |= {name: {name: (rows, h)} for name in ("embedding", "head")}
        packs = {name: shapes for name, shapes in packs.items() if name in held}
        self.weights = Weights(packs, job.torch_dtype, device)
        self.first = rows * self.axis.coordinate

    def partial_gradients(self) -> list[Tensor]:
        """Return what is to be summed over ranks with other tokens: the norm, and whole tables."""
        if self.mesh.cut is not self.mesh.spread:
            return self.weights.gradients
        here = "final_norm" in self.weights.packs
        return [self.weights.flat_gradient("final_norm")] if here else []

    def _here(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return ids counted from this rank's first row (0 where not here), and which are here."""
        local = ids - self.first
        here = (local >= 0) & (local < self.job.shape.vocab // self.axis.degree)
        return local * here, here

    def _leave(self, x: Tensor) -> Pending:
        """Begin to sum partial results over the axis, back to this rank's tokens."""
        if self.gathers:
            return self.axis.reduce_scatter(x, "activations")
        return self.axis.all_reduce(x, "activations")

    def _message(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return a message with room for one activation beside every id, and that room."""
        ids = ids.to(self.job.ids).unsqueeze(-1)
        wide = self.job.shape.hidden * self.job.torch_dtype.itemsize
        message = ids.new_empty(*ids.shape[:-1], wide + ids.itemsize, dtype=torch.uint8)
        message[..., wide:].copy_(ids.view(torch.uint8))
        return message, message[..., :wide].view(self.job.torch_dtype)

    def _gather(self, message: Tensor) -> tuple[Tensor, Tensor]:
        """Return the activations and ids of all tokens, in the order of ranks, as two views."""
        whole = self.axis.all_gather(message, "activations").wait()
        wide = self.job.shape.hidden * self.job.torch_dtype.itemsize
        return whole[..., :wide].view(self.job.torch_dtype), whole[..., wide:].view(
            self.job.ids
        ).squeeze(-1)

    # ---- embedding -------------------------------------------------------------------------------

    def embed(self, ids: Tensor) -> Tensor:
        """Return the first layer's input, [batch, tokens, hidden]."""
        if self.gathers:
            ids = self.axis.all_gather(ids.to(self.job.ids), "activations").wait()
        row, here = self._here(ids)
        x = functional.embedding(
            row, self.weights.flat("embedding").view(-1, self.job.shape.hidden)
        )
        return self._leave(x.mul_(here.unsqueeze(-1))).wait()

    def embed_backward(self, dx: Tensor, ids: Tensor) -> None:
        """Add every token's gradient to its row; nobody reads dx afterwards."""
        if self.gathers:
            message, room = self._message(ids)
            room.copy_(dx)
            dx, ids = self._gather(message)
        row, here = self._here(ids)
        dx.mul_(here.unsqueeze(-1))
        table = self.weights.grad("embedding")["embedding"]
        table.index_add_(0, row.flatten(), dx.flatten(0, -2))

    # ---- head ------------------------------------------------------------------------------------

    def head(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return the loss (of the tokens of `cut`'s ranks) and the gradient of x."""
        loss, tape = self.head_forward(x, targets)
        return loss, self.head_backward(x, tape)

    def head_forward(self, x: Tensor, targets: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Return the loss, and what backward needs: the logits' gradient, and normed input."""
        normed, targets = self._normed(x, self.weights.flat("final_norm"), targets)
        logits = ops.matmul(normed, self.weights.value("head")["head"].t())
        return self._loss(logits, targets), [logits, normed]

    def head_backward(self, x: Tensor, tape: list[Tensor]) -> Tensor:
        """Return the gradient of x; empties the tape."""
        normed, logits = tape.pop(), tape.pop()
        dnormed = ops.matmul(logits, self.weights.value("head")["head"]).view(-1, *x.shape)
        arriving = self._leave(dnormed if self.gathers else dnormed[0])
        del dnormed
        ops.weight_gradient(logits, normed, self.weights.grad("head")["head"])
        del logits, normed
        dx, w = torch.empty_like(x), self.weights.flat("final_norm")
        dw = self.weights.flat_gradient("final_norm")
        ops.norm_backward(arriving.wait(), x, w, dw, dx, self.job.scratch, add=False)
        return dx

    def _normed(self, x: Tensor, w: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return normed activations, [tokens, hidden], and targets, of all tokens needed here."""
        if not self.gathers:
            return ops.rows(ops.norm(x, w)), targets.flatten()
        message, room = self._message(targets)
        ops.norm(x, w, out=room)
        normed, targets = self._gather(message)
        return normed.flatten(0, -2), targets.flatten()

    def _loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross-entropy; write its gradient over the logits, [tokens, rows]."""
        row, here = self._here(targets.long())
        parts = list(ops.pieces(logits, self.job.scratch))
        mine = logits.new_empty(len(logits), 2, dtype=self.job.statistics)
        for part in parts:
            mine[part, 0] = logits[part].to(mine.dtype).logsumexp(-1)
        mine[:, 1] = logits.gather(1, row.unsqueeze(1)).squeeze(1) * here
        everyone = self.axis.all_gather(mine, "activations").wait()
        lse, target = everyone[..., 0].logsumexp(0), everyone[..., 1].sum(0)
        count = self.job.batch * self.job.sequence
        for part in parts:
            p = (logits[part] - lse[part, None]).exp_()
            p.scatter_add_(1, row[part, None], -here[part, None].to(p.dtype))
            logits[part].copy_(p.div_(count))
        return (lse - target).sum() / count


class Embedding(torch.autograd.Function):
    """The embedding, as autograd sees it; the table is an input only to be asked for a gradient."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, ends: Ends, ids: Tensor) -> Tensor:  # noqa: ARG004
        """Look up."""
        ctx.ends, ctx.ids = ends, ids
        return ends.embed(ids)

    @staticmethod
    def backward(ctx: Any, dx: Tensor) -> Any:
        """Add to the table's gradient."""
        ctx.ends.embed_backward(dx, ctx.ids)
        return None, None, None


class Head(torch.autograd.Function):
    """Norm, head and loss: their backward runs at once, so that the logits need not be kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, ends: Ends, targets: Tensor) -> Tensor:
        """Return the loss."""
        loss, ctx.dx = ends.head(x, targets)
        return loss

    @staticmethod
    def backward(ctx: Any, dloss: Tensor) -> Any:
        """Return what forward computed."""
        dx, ctx.dx = ctx.dx, None
        return dx.mul_(dloss), None, None
