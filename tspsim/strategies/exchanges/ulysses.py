"""DeepSpeed-Ulysses (arXiv 2309.14509): all-to-all from token shards to head shards, and back.

Among all ranks, or among blocks of neighbours with ring attention between the blocks: USP (arXiv
2405.07719).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tspsim.program.kinds.heads import RepeatHeads, SumHeads
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.rows import varying
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Heads, Sinks
from tspsim.strategies.exchanges.ring import RingExchange


class UlyssesExchange(Exchange):
    """Every rank attends with 1/U of the heads, from the tokens of its U neighbours.

    The tape's q, k and v are head shards of the neighbours' tokens, as is `whole_output`; its `o`
    is the output of this rank's tokens. Fewer key/value heads than neighbours are repeated before
    they travel, so that each reaches all ranks that read it.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        This rank's tokens.
    axis : str
        The axis that cuts them.
    neighbours : int
        U, which divides the axis: a ring leads from block to block.
    """

    def __init__(self, rank: Rank, tokens: Tokens, axis: str, neighbours: int) -> None:
        super().__init__(rank, tokens, axis)
        alone = neighbours == self.axis.degree
        self.ring = RingExchange(rank, tokens.together(neighbours), axis, stride=neighbours)
        self.block = self.axis if alone else rank.axis(axis, neighbours)
        self.lane = "kv" if alone else "heads"  # another communicator than the ring's
        self.inside = tokens.within(neighbours)

    def _repeats(self, heads: Heads) -> int:
        return max(self.block.degree // heads.keys, 1)

    def _shard(self, heads: Heads) -> Heads:
        n = self.block.degree
        queries, keys = heads.queries // n, heads.keys * self._repeats(heads) // n
        return Heads(queries, keys, heads.sinks and self._own(heads.sinks, queries))

    def _own(self, sinks: Sinks, heads: int) -> Sinks:
        """Return those of the rank's share of the heads."""
        n, axis = self.block.degree, self.axis
        start = varying(axis.name, [c % n * heads for c in range(axis.degree)])
        value, into = (each and view(each, start, (heads,)) for each in (sinks.value, sinks.into))
        assert value is not None
        return replace(sinks, value=value, into=into)

    def _to_heads(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        if self.block.degree == 1:
            return xs
        gathered = self.block.all_to_all(*xs, split=2, concat=1, lane=self.lane, label=label)
        return self.rank.reorder(gathered, self.inside, to="logical")

    def _to_tokens(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        if self.block.degree == 1:
            return xs
        ordered = self.rank.reorder(xs, self.inside, to="gathered")
        return self.block.all_to_all(*ordered, split=1, concat=2, lane=self.lane, label=label)

    def _repeated(self, heads: Heads, kv: Sequence[Operand]) -> Sequence[Operand]:
        times = self._repeats(heads)
        if times == 1:
            return kv
        shapes = [(*x.shape[:-1], x.shape[-1] * times) for x in kv]
        outs = [self.rank.tensor(x.buffer.name, s) for x, s in zip(kv, shapes, strict=True)]
        self.rank.compute(RepeatHeads(heads.keys, times), kv, outs, "repeat.kv")
        return outs

    def _summed(self, heads: Heads, dkv: Sequence[Operand]) -> Sequence[Operand]:
        times = self._repeats(heads)
        if times == 1:
            return dkv
        shapes = [(*x.shape[:-1], x.shape[-1] // times) for x in dkv]
        outs = [self.rank.tensor(x.buffer.name, s) for x, s in zip(dkv, shapes, strict=True)]
        self.rank.compute(SumHeads(heads.keys, times), dkv, outs, "sum.dkv")
        return outs

    def bring(self, heads: Heads, q: Operand, k: Operand, v: Operand) -> CoreTape:
        """Record the exchange from token shards to head shards."""
        q, k, v = self._to_heads(q, *self._repeated(heads, (k, v)), label="qkv")
        return CoreTape(q, k, v)

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention with this rank's heads, and the exchange of its output back."""
        attended = self.ring.attend(self._shard(heads), tape)
        (local,) = self._to_tokens(attended.output, label="o")
        return replace(attended, o=local, whole_output=attended.output)

    def restore(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Run the core again unless it was kept; its output travels again unless that was kept."""
        if tape.lse is not None or tape.o is None:
            return super().restore(heads, tape)
        with self.rank.at(phase="recompute"):
            attended = self.ring.attend(self._shard(heads), tape)
        return replace(attended, o=tape.o, whole_output=attended.output)

    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Record the exchange of do, the core's backward, and the exchange of the gradients."""
        (do,) = self._to_heads(do, label="do")
        attended = replace(tape, o=tape.whole_output)
        gradients = self.ring.backward(self._shard(heads), do, attended)
        dq, *dkv = self._to_tokens(*gradients, label="dqkv")
        dk, dv = self._summed(heads, dkv)
        return dq, dk, dv
