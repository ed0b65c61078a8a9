"""Both ends of the model: embedding, and final norm, head and loss, over a cut vocabulary.

Where tokens are cut over the same axis as the vocabulary (`gather_axis`), they are gathered for
the table's rows that a rank holds, and results are scattered back (Megatron-LM's vocab-parallel
embedding and cross-entropy, arXiv 1909.08053; with sharded tokens, arXiv 2205.05198).
"""

from __future__ import annotations

import math

from tspsim.program.activations import ActivationShard
from tspsim.program.kinds.vocabulary import Embed, EmbedGradient
from tspsim.program.packed import Weights
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.strategies.parts.losses import CrossEntropy
from tspsim.strategies.parts.weights import Cut

#: Bytes of a token id.
ID_ITEMSIZE = 4


class Ends:
    """Embedding and head of one rank.

    Parameters
    ----------
    rank : Rank
    cut : Cut
    place : ActivationShard
    gather_axis : str or None
    """

    def __init__(
        self, rank: Rank, cut: Cut, place: ActivationShard, gather_axis: str | None
    ) -> None:
        self.rank, self.place = rank, place
        self.axis = rank.axis(cut.axis) if cut.axis else None
        self.gathers = gather_axis is not None
        self.embedding = rank.weights("embedding", [cut.table("embedding")])
        tied = rank.model.tied
        self.table = self.embedding if tied else rank.weights("head", [cut.table("head")])
        self.norm = rank.weights("final_norm", [cut.norm("final_norm")])
        self.ids = [self._ids("tokens", i) for i in range(rank.workload.micro_batches)]
        self.masks: list[Operand | None] = []  # of the embedding's dropout, by micro-batch
        self.targets = [self._ids("targets", i) for i in range(rank.workload.micro_batches)]

    @property
    def weights(self) -> tuple[Weights, ...]:
        """The tables, each once, and the final norm."""
        tables = (self.embedding,) if self.table is self.embedding else (self.embedding, self.table)
        return (*tables, self.norm)

    def _ids(self, name: str, micro_batch: int) -> Operand:
        shape = self.place.shape(self.rank.workload.batch, 1)[:2]
        ids = self.rank.resident(name, shape, ID_ITEMSIZE, "activation")
        self.rank.bind(ids, f"{name}.{micro_batch}", self.place, "value")
        return ids

    # ---- embedding ---------------------------------------------------------------------------

    def _over(self) -> str | None:
        return self.axis.name if self.axis else None

    def _whole_ids(self) -> Operand:
        ids = self.ids[self.rank.micro_batch]
        if not (self.axis and self.gathers):
            return ids
        return self.axis.all_gather(ids, dim=1, lane="tokens", label="embed.ids")[0]

    def embed(self) -> Operand:
        """Return the first layer's input."""
        rank, ids, table = self.rank, self._whole_ids(), self.embedding.value["embedding"]
        x = rank.tensor("x", (*ids.shape, table.shape[1]))
        rank.compute(Embed(self._over()), (ids, table), (x,), "embed")
        x = self._leave(x, dim=1, label="embed")
        self.masks.append(rank.drop(x, "dropout.embed"))
        return x

    def embed_backward(self, dx: Operand) -> None:
        """Add the gradient of the embedding table."""
        ids, gradient = self.ids[self.rank.micro_batch], self.embedding.gradient["embedding"]
        dx = self.rank.masked(dx, self.masks[self.rank.micro_batch], "ddropout.embed")
        if self.axis and self.gathers:
            dx, ids = self.axis.all_gather(dx, ids, dim=1, lane="tokens", label="dembed")
        kind = EmbedGradient(self._over())
        self.rank.compute(kind, (ids, dx, gradient), (gradient,), "dembed")

    def _leave(self, x: Operand, dim: int, label: str) -> Operand:
        """Sum partial results over the axis, back to this rank's tokens."""
        if not self.axis:
            return x
        if self.gathers:
            return self.axis.reduce_scatter(x, dim=dim, lane="tokens", label=label)[0]
        return self.axis.all_reduce(x, lane="tokens", label=label)[0]

    # ---- head --------------------------------------------------------------------------------

    def head(self, x: Operand, loss: Operand) -> Operand | None:
        """Record norm, head and loss chunk by chunk; return the gradient of x when training."""
        rank, h = self.rank, self.rank.model.hidden
        tokens, chunks = math.prod(x.shape[:-1]), rank.workload.loss_chunks
        size = tokens // chunks
        dx: Operand | None = None
        for chunk in range(chunks):
            part = view(x, chunk * size * h, (size, h))
            targets = view(self.targets[rank.micro_batch], chunk * size, (size,))
            normed = rank.norm(part, self.norm.value.flat, "final_norm")
            dnormed = self._chunk(normed.output, targets, loss)
            if dnormed is None:
                continue
            with rank.at(phase="backward"):
                dx = dx or rank.tensor("dx", x.shape)
                out, pair = view(dx, chunk * size * h, (size, h)), self._norm_pair()
                rank.norm_backward(dnormed, normed.saved, pair, "final_norm", out=out)
        return dx

    def _norm_pair(self) -> tuple[Operand, Operand]:
        return self.norm.value.flat, self.norm.gradient.flat

    def _chunk(self, normed: Operand, targets: Operand, loss: Operand) -> Operand | None:
        """Record head and loss of some tokens; return the gradient of their normed activations."""
        rank, table = self.rank, self.table.value
        if self.axis and self.gathers:
            normed, targets = self.axis.all_gather(
                normed, targets, dim=0, lane="tokens", label="head"
            )
        weight = table[table.parts[0].name]
        logits = rank.matmul(normed, weight, "logits", transpose_b=True)
        entropy = CrossEntropy(rank, self.axis, targets)
        entropy.forward(logits, loss)
        if not rank.trains:
            return None
        with rank.at(phase="backward"):
            return self._chunk_backward(normed, entropy.backward())

    def _chunk_backward(self, normed: Operand, dlogits: Operand) -> Operand:
        rank, table = self.rank, self.table
        name = table.value.parts[0].name
        dnormed = self._leave(rank.matmul(dlogits, table.value[name], "dnormed"), 0, "dhead")
        rank.weight_gradient(dlogits, normed, table.gradient[name], "head")
        return dnormed
