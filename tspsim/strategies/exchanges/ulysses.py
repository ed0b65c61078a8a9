"""DeepSpeed-Ulysses (arXiv 2309.14509): all-to-all from token shards to head shards, and back."""

from __future__ import annotations

from dataclasses import replace

from tspsim.program.kinds.attention import Core
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Heads, core_of


class UlyssesExchange(Exchange):
    """Every rank attends with 1/D of the heads over the whole sequence.

    The tape's q, k and v are head shards of all tokens, as is `whole_output`; its `o` is the
    output of this rank's tokens.
    """

    def _core(self, heads: Heads) -> Core:
        n, whole = self.axis.degree, self.tokens.whole()
        return core_of(self.rank, Heads(heads.queries // n, heads.keys // n), whole, whole)

    def _to_heads(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        if self.axis.degree == 1:
            return xs
        gathered = self.axis.all_to_all(*xs, split=2, concat=1, lane="kv", label=label)
        return self.rank.reorder(gathered, self.tokens, to="logical")

    def _to_tokens(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        if self.axis.degree == 1:
            return xs
        ordered = self.rank.reorder(xs, self.tokens, to="gathered")
        return self.axis.all_to_all(*ordered, split=1, concat=2, lane="kv", label=label)

    def bring(self, q: Operand, k: Operand, v: Operand) -> CoreTape:
        """Record the exchange from token shards to head shards."""
        q, k, v = self._to_heads(q, k, v, label="qkv")
        return CoreTape(q, k, v)

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention over this rank's heads, and the exchange of its output back."""
        assert tape.k is not None and tape.v is not None
        o, lse = self.rank.attention(self._core(heads), tape.q, tape.k, tape.v)
        (local,) = self._to_tokens(o, label="o")
        return replace(tape, o=local, lse=lse, whole_output=o)

    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Record the exchange of do, the core's backward, and the exchange of the gradients."""
        assert tape.k is not None and tape.v is not None
        assert tape.whole_output is not None and tape.lse is not None
        (do,) = self._to_heads(do, label="do")
        inputs = (do, tape.q, tape.k, tape.v, tape.whole_output)
        gradients = self.rank.attention_backward(self._core(heads), inputs, tape.lse)
        dq, dk, dv = self._to_tokens(*gradients, label="dqkv")
        return dq, dk, dv
