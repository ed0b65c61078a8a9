"""Tokens travel once to every rank that holds experts of theirs, and are copied there.

A token with several experts on a rank is sent there once, with the weights of these; what they make
of it is added up before it comes back (DeepSeek-V3, arXiv 2412.19437, section 3.2.2, and its
library DeepEP).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from tspsim.program.kinds.routing import WeighRows, WeighRowsBackward
from tspsim.program.packed import Weights
from tspsim.program.rows import Arrived, Meant, Sent, distinct, varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, GateTape, present
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

    # ---- there and back ----------------------------------------------------------------------

    def _there(self, x: Operand, weights: Operand | None, label: str) -> tuple[Operand, ...]:
        """Send tokens, and the weights of their experts with them."""
        route = self._route()
        assert isinstance(route.picked, Sent)
        rows = (self.permute(x, route.picked), *self._weighed(weights, route.picked))
        return self._to_experts(*rows, route=route, label=label)

    def _back(
        self, rows: Operand, dweights: Operand | None, label: str, like: GateTape
    ) -> tuple[Operand, ...]:
        """Send results back to their tokens, and gradients of weights with them; add them up."""
        route, shape = self._route(), like.weights.shape
        assert isinstance(route.picked, Sent)
        back = self._from_experts(*present(rows, dweights), route=route, label=label)
        out = self.permute_backward(back[0], route.picked, shape[:2])
        return out, *(self._summed(d, route.picked, shape) for d in back[1:])

    def _weighed(self, weights: Operand | None, sent: Meant) -> tuple[Operand, ...]:
        """Return the weights that go with every row, if weights are to go."""
        if weights is None:
            return ()
        out = self.rank.statistics("row_weights", (sent.rows, self.experts.active))
        self.rank.compute(WeighRows(sent), (weights,), (out,), "row_weights")
        return (out,)

    def _summed(self, drows: Operand, sent: Meant, shape: tuple[int, ...]) -> Operand:
        """Return gradients of weights, as weights lie."""
        dweights = self.rank.statistics("dweights", shape)
        kind = WeighRowsBackward(sent, shape if len(shape) > 2 else None)
        self.rank.compute(kind, (drows,), (dweights,), "drow_weights")
        return dweights

    # ---- forward and backward ----------------------------------------------------------------

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Send tokens, copy and multiply them there, add up, and add up what comes back."""
        gate, copies = self.gate(x, router), self._copies()
        came, weights = self._there(x, gate.weights, "dispatch")
        beside()
        rows, mlp = self.permute(came, copies), self._mlp(self._route())
        tape = mlp.hidden(rows, w.value)
        made = mlp.down(tape, w.value)
        (out,) = self._back(self.combine(made, weights, copies), None, "combine", gate)
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.out")
        return out, Tape(gate, weights, rows, tape, made)

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Mirror `forward`; gradients of weights come back with those of the tokens."""
        copies = self._copies()
        (dcame,) = self._there(dy, None, "combine")
        beside()
        drows, dweights = self.combine_backward(dcame, tape.out, tape.weights, copies)
        mlp = self._mlp(self._route())
        mlp.down_backward(drows, tape.mlp, w.value, w.gradient)
        dx = mlp.input_gradient(tape.mlp.ups, w.value)
        dx = self.permute_backward(dx, copies, (copies.came,))
        out, dgate = self._back(dx, dweights, "dispatch", tape.gate)
        self.rank.weighs(lambda: mlp.weight_gradients(tape.rows, tape.mlp.ups, w.gradient))
        if self.sums:
            self.sums.all_reduce(out, dgate, lane="experts", label="experts.din")
        dlogits = self.gate_backward(dgate, normed, router, tape.gate)
        return self.through_router(dlogits, router, out)
