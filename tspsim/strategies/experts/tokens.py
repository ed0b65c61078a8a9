"""Tokens travel: to the ranks of their experts, and what these make of them back.

Experts are dealt over axes. Along those over which ranks hold different tokens, rows go by an
all-to-all to the ranks of their experts (GShard, arXiv 2006.16668; Megatron-LM's alltoall
dispatcher); along those over which all hold the same tokens nothing travels: every rank computes
what its own experts make of them, and an all-reduce adds it up.
"""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.kinds.dispatch import Arrange
from tspsim.program.packed import Weights
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, GateTape
from tspsim.strategies.experts.travelling import Route, Travelling
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import MlpTape


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves: of the router, the rows at the experts and what came back of them."""

    gate: GateTape
    rows: Operand
    mlp: MlpTape
    back: Operand


class TokensTravel(Travelling):
    """A row for every token and expert of it."""

    def _arranged(self, rows: Operand, route: Route, *, back: bool = False) -> Operand:
        """Return rows expert by expert, or sender by sender again."""
        if self.senders == 1 or route.groups.experts == 1:
            return rows
        out = self.rank.tensor("arranged", rows.shape)
        kind = Arrange(route.counts, self.senders, self.over, back)
        self.rank.compute(kind, (rows,), (out,), "arrange")
        return out

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Send rows, have them multiplied, and add up what comes back."""
        gate, route = self.gate(x, router), self._route()
        rows = self.permute(x, route.picked)
        (rows,) = self._to_experts(rows, route=route, label="dispatch")
        beside()
        rows = self._arranged(rows, route)
        mlp = self._mlp()
        tape = mlp.hidden(rows, w.value)
        back = self._arranged(mlp.down(tape, w.value), route, back=True)
        (back,) = self._from_experts(back, route=route, label="combine")
        out = self.combine(back, gate.weights, route.picked)
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.out")
        return out, Tape(gate, rows, tape, back)

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Send the gradients of rows to the experts, and those of their inputs back."""
        route = self._route()
        drows, dweights = self.combine_backward(dy, tape.back, tape.gate.weights, route.picked)
        if self.sums:
            self.sums.all_reduce(dweights, lane="experts", label="dweights")
        (drows,) = self._to_experts(drows, route=route, label="combine")
        dlogits = self.gate_backward(dweights, normed, router, tape.gate)
        beside()
        drows = self._arranged(drows, route)
        mlp = self._mlp()
        mlp.down_backward(drows, tape.mlp, w.value, w.gradient)
        dx = mlp.input_gradient(tape.mlp.ups, w.value)
        dx = self._arranged(dx, route, back=True)
        (dx,) = self._from_experts(dx, route=route, label="dispatch")
        self.rank.weighs(lambda: mlp.weight_gradients(tape.rows, tape.mlp.ups, w.gradient))
        out = self.permute_backward(dx, route.picked, dy.shape[:2])
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.din")
        return self.through_router(dlogits, router, out)
