"""Ring attention (arXiv 2310.01889): blocks of K and V travel, partial outputs are merged."""

from __future__ import annotations

from dataclasses import replace

from tspsim.program.kinds.attention import Core
from tspsim.program.ledger import Slots
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.program.unfused import KeptScores
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Heads, core_of


class RingExchange(Exchange):
    """K/V blocks go round the ring in D-1 hops; dK and dV travel home with them in backward.

    In a ring of one rank it is plain local attention.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
    axis : str
    stride : int
        Hops lead to the rank so many places further: of so many rings, a rank is in one.
    """

    def __init__(self, rank: Rank, tokens: Tokens, axis: str, stride: int = 1) -> None:
        super().__init__(rank, tokens, axis)
        self.stride, self.degree = stride, self.axis.degree // stride
        self.slots, self.gradient_slots = rank.slots(2 * 2), rank.slots(2 * 2)  # k and v each

    def _core(self, heads: Heads, step: int) -> Core:
        return core_of(self.rank, heads, self.tokens, self.tokens.shifted(-step))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record D partial attentions over D-1 hops, and their merging."""
        assert tape.k is not None and tape.v is not None
        block = (tape.k, tape.v)
        result: tuple[Operand, Operand | KeptScores] | None = None
        for step in range(self.degree):
            last = step + 1 == self.degree
            # Asynchronous: the next block travels while this one is attended to.
            arriving = block if last else self._hop(block)
            # The sink is in one of the sums that are merged: in that of the rank's own block.
            sink = None if step else heads.sink
            partial = self.rank.attention(self._core(heads, step), tape.q, *block, sink)
            if result is None:
                result = partial
            else:
                self.rank.merge_attention(heads.queries, result, partial)
            block = arriving
        assert result is not None
        return replace(tape, o=result[0], lse=result[1])

    def _hop(self, block: tuple[Operand, Operand]) -> tuple[Operand, Operand]:
        return self._shift(block, "kv", self.slots)

    def _shift(
        self, pair: tuple[Operand, Operand], label: str, slots: Slots
    ) -> tuple[Operand, Operand]:
        k, v = self.axis.shift(*pair, lane=label, label=label, into=slots, offset=self.stride)
        return k, v

    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Send the blocks round again; gradients travel one hop behind and come home last.

        What arrives is added to after the kernel, so that it travels while the kernel runs.
        """
        assert tape.k is not None and tape.v is not None and tape.lse is not None
        own, degree = (tape.k, tape.v), self.degree
        self.sinks_backward(self._core(heads, 0), heads, do, tape)
        arriving = self._hop(own) if degree > 1 else own
        dq: Operand | None = None
        dkv: tuple[Operand, Operand] | None = None
        for step in [*range(1, degree), 0]:
            block = arriving if step else own
            if 0 < step < degree - 1:
                arriving = self._hop(block)
            inputs = (do, tape.q, *block, tape.output)
            core = self._core(heads, step)
            part, *parts = self.rank.attention_backward(core, inputs, tape.lse)
            dq = self._added(part, dq, "dq")
            sums = zip(parts, dkv or (None, None), strict=True)
            dk, dv = (self._added(some, so_far, "dkv", home=not step) for some, so_far in sums)
            dkv = self._shift((dk, dv), "dkv", self.gradient_slots) if step else (dk, dv)
        assert dq is not None and dkv is not None
        return dq, *dkv

    def _added(
        self, part: Operand, to: Operand | None, label: str, *, home: bool = False
    ) -> Operand:
        """Add a block's gradient to those of earlier ones, if there are any.

        What has come home leaves its slot to others.
        """
        if to is None:
            return part
        x, to = (to, part) if home else (part, to)
        return self.rank.add(x, to=to, label=label)
