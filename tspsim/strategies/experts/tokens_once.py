"""Tokens travel once to every rank that holds experts of theirs, and are copied there.

A token with several experts on a rank is sent there once, with the weights of these; what they make
of it is added up before it comes back (DeepSeek-V3, arXiv 2412.19437, section 3.2.2, and its
library DeepEP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tspsim.program.kinds.routing import WeighRows, WeighRowsBackward
from tspsim.program.packed import Weights
from tspsim.program.rows import Arrived, Sent, distinct, varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, GateTape
from tspsim.strategies.experts.travelling import Route, Travelling
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import MlpTape


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves: of the router, weights that came, rows by expert, and their results."""

    gate: GateTape
    weights: Operand
    rows: Operand
    mlp: MlpTape
    out: Operand


class TokensTravelOnce(Travelling):
    """A row for every token and rank that holds experts of it."""

    def _route(self) -> Route:
        route, here = super()._route(), self.degree // self.senders
        counts = distinct(self.dealing, self.degree)
        blocks = tuple(counts[i : i + self.senders] for i in range(0, self.degree, self.senders))
        sent = Sent(self.dealing, self.degree, self.here if here > 1 else None, here)
        arrived = varying(self.over, [self.senders * count for count in counts])
        return replace(route, picked=sent, blocks=blocks, arrived=arrived)

    def _copies(self) -> Arrived:
        return Arrived(self.dealing, self.degree, self.senders, self.over or None)

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Send tokens, copy and multiply them there, add up, and add up what comes back."""
        gate, route, copies = self.gate(x, router), self._route(), self._copies()
        came, weights = self._to_experts(
            self.permute(x, route.picked), self._weights(gate, route), route=route, label="dispatch"
        )
        beside()
        rows, mlp = self.permute(came, copies), self._mlp(route)
        tape = mlp.hidden(rows, w.value)
        made = mlp.down(tape, w.value)
        (back,) = self._from_experts(
            self.combine(made, weights, copies), route=route, label="combine"
        )
        out = self.permute_backward(back, route.picked, x.shape[:2], "experts")
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.out")
        return out, Tape(gate, weights, rows, tape, made)

    def _weights(self, gate: GateTape, route: Route) -> Operand:
        """Return the weights that go with every row."""
        assert isinstance(route.picked, Sent)
        weights = self.rank.statistics("row_weights", (route.picked.rows, self.experts.active))
        self.rank.compute(WeighRows(route.picked), (gate.weights,), (weights,), "row_weights")
        return weights

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Mirror `forward`; gradients of weights come back with those of the tokens."""
        route, copies = self._route(), self._copies()
        (dcame,) = self._to_experts(self.permute(dy, route.picked), route=route, label="combine")
        beside()
        drows, dweights = self.combine_backward(dcame, tape.out, tape.weights, copies)
        mlp = self._mlp(route)
        mlp.down_backward(drows, tape.mlp, w.value, w.gradient)
        dx = mlp.input_gradient(tape.mlp.ups, w.value)
        dx = self.permute_backward(dx, copies, (copies.came,))
        dx, dweights = self._from_experts(dx, dweights, route=route, label="dispatch")
        self.rank.weighs(lambda: mlp.weight_gradients(tape.rows, tape.mlp.ups, w.gradient))
        out = self.permute_backward(dx, route.picked, dy.shape[:2])
        dweights = self._weights_backward(dweights, tape.gate, route)
        if self.sums:
            self.sums.all_reduce(out, dweights, lane="experts", label="experts.din")
        dlogits = self.gate_backward(dweights, normed, router, tape.gate)
        return self.through_router(dlogits, router, out)

    def _weights_backward(self, drows: Operand, gate: GateTape, route: Route) -> Operand:
        assert isinstance(route.picked, Sent)
        dweights = self.rank.statistics("dweights", gate.weights.shape)
        kind = WeighRowsBackward(route.picked, gate.weights.shape)
        self.rank.compute(kind, (drows,), (dweights,), "drow_weights")
        return dweights
