"""Both ends of the model: embedding, and final norm, head and loss, over a cut vocabulary.

Where tokens are cut over the same axis as the vocabulary (`gather_axis`), they are gathered for
the table's rows that a rank holds, and results are scattered back (Megatron-LM's vocab-parallel
embedding and cross-entropy, arXiv 1909.08053; with sharded tokens, arXiv 2205.05198).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from tspsim.program.activations import ActivationShard
from tspsim.program.kinds.pointwise import Scale
from tspsim.program.kinds.vocabulary import Embed, EmbedGradient
from tspsim.program.packed import Weights
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.strategies.parts.copies import sum_with
from tspsim.strategies.parts.groups import Group, Groups
from tspsim.strategies.parts.losses import CrossEntropy
from tspsim.strategies.parts.weights import Cut

#: Bytes of a token id.
ID_ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class HeadTape:
    """What the head's forward leaves for its backward.

    Parameters
    ----------
    pieces : tuple of HeadPiece
        Of the tokens, one after another.
    dx : Operand or None
        The gradient of the input, where forward has computed it piece by piece.
    """

    x: Operand
    pieces: tuple[HeadPiece, ...]
    dx: Operand | None = None


@dataclass(frozen=True, slots=True)
class HeadPiece:
    """Some tokens on their way through the head."""

    at: int
    saved: tuple[Operand, ...]
    normed: Operand
    entropy: CrossEntropy


class Ends:
    """Embedding and head of one rank: what its stages hold of them.

    Parameters
    ----------
    rank : Rank
    cut : Cut
    place : ActivationShard
    gather_axis : str or None
    groups : Groups
        Of the rank: its ends are a group.
    """

    def __init__(
        self,
        rank: Rank,
        cut: Cut,
        place: ActivationShard,
        gather_axis: str | None,
        groups: Groups,
    ) -> None:
        self.rank, self.place = rank, place
        self.axis = rank.axis(cut.axis) if cut.axis else None
        self.gathers = gather_axis is not None
        first, last, tied = rank.holds_first_layer, rank.holds_last_layer, rank.model.tied
        both = first and last
        self.embedding = rank.weights("embedding", [cut.table("embedding")]) if first else None
        self.table = self._head(cut, self.embedding if tied else None) if last else None
        self.norm = rank.weights("final_norm", [cut.norm("final_norm")]) if last else None
        self.group = Group(groups, (*self.tables, *self.norms))
        self.shares_table = tied and (first or last) and not both
        count = range(rank.workload.micro_batches)
        self.ids = [self._ids("tokens", i) for i in count] if first else []
        self.masks: dict[int, Operand | None] = {}  # of the embedding's dropout, by micro-batch
        learns = last and not rank.workload.requests
        self.targets = [self._ids("targets", i) for i in count] if learns else []

    def _head(self, cut: Cut, tied: Weights | None) -> Weights:
        name = "embedding" if self.rank.model.tied else "head"
        return tied or self.rank.weights(name, [cut.table(name)])

    @property
    def tables(self) -> tuple[Weights, ...]:
        """The tables, each once."""
        there = (table for table in (self.embedding, self.table) if table is not None)
        return tuple({id(table): table for table in there}.values())

    @property
    def norms(self) -> tuple[Weights, ...]:
        """The final norm, where the rank has it."""
        return () if self.norm is None else (self.norm,)

    @property
    def in_order(self) -> tuple[tuple[Weights, ...], tuple[Weights, ...]]:
        """What forward reads first, and what it reads behind all layers."""
        first = self.tables[:1] if self.embedding is not None else ()
        return first, (*self.norms, *self.tables[len(first) :])

    def sum_tied(self) -> None:
        """Sum the gradients of a table that stands at both ends of a pipeline."""
        table = self.embedding or self.table
        if not self.shares_table or table is None:
            return
        way = -1 if self.embedding is not None else 1  # round the ring from end to end
        sum_with(self.rank, [table.gradient.flat], way, "tied")

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
        assert self.embedding is not None
        self.group.begin()
        rank, ids = self.rank, self._whole_ids()
        table = self.group.now(self.embedding).value["embedding"]
        x = rank.tensor("x", (*ids.shape, table.shape[1]))
        rank.compute(Embed(self._over()), (ids, table), (x,), "embed")
        x = self._leave(x, dim=1, label="embed")
        self._scale(x, "embed.scale")
        self.masks[rank.micro_batch] = rank.drop(x, "dropout.embed")
        return x

    def _scale(self, x: Operand, label: str) -> None:
        """Scale embeddings, or their gradient, where the model does."""
        if self.rank.model.scaled_embedding:
            self.rank.compute(Scale(self.rank.model.hidden**0.5), (x,), (x,), label)

    def embed_backward(self, dx: Operand) -> None:
        """Add the gradient of the embedding table."""
        assert self.embedding is not None
        ids, table = self.ids[self.rank.micro_batch], self._added(self.embedding)
        gradient = table.gradient["embedding"]
        dx = self.rank.masked(dx, self.masks[self.rank.micro_batch], "ddropout.embed")
        self._scale(dx, "dembed.scale")
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

    def head(self, x: Operand, loss: Operand) -> HeadTape:
        """Record norm, head and loss; in pieces, each with its backward, when there are several."""
        self.group.begin()
        rank, pieces = self.rank, _pieces(x, self.rank.workload.loss_chunks)
        if len(pieces) == 1 or not rank.trains:
            return HeadTape(x, tuple(self._piece(x, *piece, loss) for piece in pieces))
        dx: Operand | None = None
        for piece in pieces:
            tape = self._piece(x, *piece, loss)
            with rank.at(phase="backward"):
                dx = self._piece_backward(x, tape, dx)
        return HeadTape(x, (), dx)

    def _piece(self, x: Operand, at: int, size: int, loss: Operand) -> HeadPiece:
        """Record norm, logits and loss of `size` tokens."""
        assert self.table is not None and self.norm is not None
        rank, h = self.rank, self.rank.model.hidden
        table, norm = (self.group.now(w).value for w in (self.table, self.norm))
        targets = view(self.targets[rank.micro_batch], at, (size,))
        tape = rank.norm(view(x, at * h, (size, h)), norm.flat, "final_norm")
        normed = tape.output
        if self.axis and self.gathers:
            normed, targets = self.axis.all_gather(
                normed, targets, dim=0, lane="tokens", label="head"
            )
        logits = rank.matmul(normed, table[table.parts[0].name], "logits", transpose_b=True)
        entropy = CrossEntropy(rank, self.axis, targets)
        entropy.forward(logits, loss)
        return HeadPiece(at, tape.saved, normed, entropy)

    def head_backward(self, tape: HeadTape) -> Operand:
        """Return the gradient of the head's input."""
        if tape.dx is not None:
            return tape.dx
        with self.rank.at(phase="backward"):
            return self._piece_backward(tape.x, tape.pieces[0], None)

    def _piece_backward(self, x: Operand, piece: HeadPiece, dx: Operand | None) -> Operand:
        assert self.table is not None and self.norm is not None
        rank, table, h = self.rank, self._added(self.table), self.rank.model.hidden
        name = table.value.parts[0].name
        dlogits = piece.entropy.backward()
        dnormed = self._leave(rank.matmul(dlogits, table.value[name], "dnormed"), 0, "dhead")
        rank.weight_gradient(dlogits, piece.normed, table.gradient[name], "head")
        dx = dx or rank.tensor("dx", x.shape)
        out, pair = view(dx, piece.at * h, dnormed.shape), self._norm_pair()
        rank.norm_backward(dnormed, piece.saved, pair, "final_norm", out=out)
        return dx

    def _norm_pair(self) -> tuple[Operand, Operand]:
        assert self.norm is not None
        norm = self._added(self.norm)
        return norm.value.flat, norm.gradient.flat

    def _added(self, w: Weights) -> Weights:
        return self.group.adding(w)


def _pieces(x: Operand, count: int) -> Sequence[tuple[int, int]]:
    """Return where each of `count` equal pieces of x's tokens begins, and its tokens."""
    size = math.prod(x.shape[:-1]) // count
    return [(number * size, size) for number in range(count)]
