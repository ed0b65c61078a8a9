"""Every rank gathers K and V of the whole sequence; its queries stay where they are."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.program.kinds.attention import Core
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Expand, Heads, core_of


class AllGatherExchange(Exchange):
    """K/V by all_gather over the token axis; dK and dV by reduce_scatter.

    On an axis of degree 1 it is plain local attention.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        This rank's tokens.
    axis : str
        The axis that cuts them.
    keep : bool
        Keep the gathered K and V for backward instead of gathering them again.
    """

    def __init__(self, rank: Rank, tokens: Tokens, axis: str, *, keep: bool) -> None:
        super().__init__(rank, tokens, axis)
        self.keep = keep

    def _core(self, heads: Heads) -> Core:
        return core_of(self.rank, heads, self.tokens, self.tokens.whole())

    def project(
        self,
        queries: Callable[[], Operand],
        kv: tuple[Operand, Operand] | None,
        kept: tuple[Operand, Operand] | None,
    ) -> CoreTape:
        """Let K and V begin to travel, unless they are kept; then project the queries."""
        if kv is None:
            return CoreTape(queries(), None, None, kept)
        if self.axis.degree == 1:
            return CoreTape(queries(), *kv, kv)
        arriving = self._begin(*kv)
        return CoreTape(queries(), *kv, None, arriving)

    def _begin(self, k: Operand, v: Operand) -> tuple[Operand, Operand]:
        whole_k, whole_v = self.axis.all_gather(k, v, dim=1, lane="kv", label="kv")
        return whole_k, whole_v

    def gather(self, tape: CoreTape, expand: Expand) -> CoreTape:  # noqa: ARG002
        """Record the gathering of K and V, unless they are there; they arrive in rank order."""
        return self._travelling(tape)

    def _travelling(self, tape: CoreTape) -> CoreTape:
        if tape.gathered is not None:
            return tape
        assert tape.k is not None and tape.v is not None
        return replace(tape, arriving=self._begin(tape.k, tape.v))

    def _ordered(self, tape: CoreTape) -> CoreTape:
        """Bring K and V that have arrived into logical order."""
        if tape.gathered is not None:
            return tape
        k, v = self.rank.reorder(_given(tape.arriving), self.tokens, to="logical")
        return replace(tape, arriving=None, gathered=(k, v))

    def attend(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Record attention over the gathered K and V."""
        tape = self._ordered(tape)
        kv = _given(tape.gathered)
        o, lse = self.rank.attention(self._core(heads), tape.q, *kv, heads.sink)
        return replace(tape, o=o, lse=lse)

    def forget(self, tape: CoreTape) -> CoreTape:
        """Return the tape without what can be gathered again."""
        stays = self.keep or tape.k is None or self.axis.degree == 1
        return tape if stays else replace(tape, gathered=None)

    def forward(
        self,
        heads: Heads,
        queries: Callable[[], Operand],
        kv: tuple[Operand, Operand] | None,
        kept: tuple[Operand, Operand] | None = None,
    ) -> CoreTape:
        """Record gather and attention."""
        return self.forget(self.attend(heads, self.project(queries, kv, kept)))

    def keeps(self, tape: CoreTape) -> tuple[Operand, Operand] | None:
        """Keep the gathered K and V when asked to."""
        return tape.gathered if self.keep else None

    def restore(self, heads: Heads, tape: CoreTape) -> CoreTape:
        """Gather K and V again unless kept; run the core again unless its output was kept."""
        tape = self._travelling(tape) if tape.arriving is None else tape
        if tape.lse is not None:
            return tape
        with self.rank.at(phase="recompute"):
            return tape.restored(self.attend(heads, tape))

    def backward(
        self, heads: Heads, do: Operand, tape: CoreTape
    ) -> tuple[Operand, Operand, Operand]:
        """Record the core's backward, and scatter dK and dV to the owners of their tokens."""
        tape = self._ordered(tape)
        assert tape.lse is not None
        inputs = (do, tape.q, *_given(tape.gathered), tape.output)
        self.sinks_backward(self._core(heads), heads, do, tape)
        dq, *whole = self.rank.attention_backward(self._core(heads), inputs, tape.lse)
        if self.axis.degree == 1:
            return dq, whole[0], whole[1]
        ordered = self.rank.reorder(whole, self.tokens, to="gathered")
        dk, dv = self.axis.reduce_scatter(*ordered, dim=1, lane="kv", label="dkv")
        return dq, dk, dv


def _given(pair: tuple[Operand, Operand] | None) -> tuple[Operand, Operand]:
    assert pair is not None
    return pair
