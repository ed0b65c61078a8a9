"""Tokens travel: to the ranks of their experts, and what these make of them back.

Experts are dealt over axes. Along those over which ranks hold different tokens, rows go by an
all-to-all to the ranks of their experts (GShard, arXiv 2006.16668; Megatron-LM's alltoall
dispatcher); along those over which all hold the same tokens nothing travels: every rank computes
what its own experts make of them, and an all-reduce adds it up.

In several pieces, each for some of every rank's experts, the rows of one travel while those of
another are multiplied (FasterMoE, PPoPP 2022; Tutel, arXiv 2206.03382).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tspsim.program.activations import ActivationShard
from tspsim.program.kinds.dispatch import Arrange
from tspsim.program.packed import Packed, Weights, span
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, GateTape
from tspsim.strategies.experts.travelling import Route, Travelling
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import MlpTape
from tspsim.strategies.parts.prefetch import Prefetch


@dataclass(frozen=True, slots=True)
class Piece:
    """What forward leaves of some experts: the rows that came to them, and what came back."""

    rows: Operand
    mlp: MlpTape
    back: Operand


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves."""

    gate: GateTape
    pieces: tuple[Piece, ...]


class TokensTravel(Travelling):
    """A row for every token and expert of it.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    here, travel : tuple of str
    pieces : int
        In so many parts, one after another.
    """

    def __init__(
        self,
        rank: Rank,
        place: ActivationShard,
        here: tuple[str, ...],
        travel: tuple[str, ...],
        pieces: int = 1,
    ) -> None:
        super().__init__(rank, place, here, travel)
        self.pieces, self.each = pieces, self.experts.count // self.degree // pieces

    def _routes(self) -> list[Route]:
        starts = range(0, self.pieces * self.each, self.each)
        return [self._route_of(slice(first, first + self.each)) for first in starts]

    def _of(self, packed: Packed, piece: int) -> Packed:
        """Return the weights of a piece's experts."""
        return packed if self.pieces == 1 else span(packed, piece * self.each, self.each)

    def _arranged(self, rows: Operand, route: Route, *, back: bool = False) -> Operand:
        """Return rows expert by expert, or sender by sender again."""
        if self.sources == 1 or route.groups.experts == 1:
            return rows
        out = self.rank.tensor("arranged", rows.shape)
        kind = Arrange(route.counts, self.sources, self.over, back)
        self.rank.compute(kind, (rows,), (out,), "arrange")
        return out

    def _ahead(self, issue: Callable[[int], Operand]) -> Prefetch[Operand]:
        """Return the rows of all pieces; those of the next one are on their way."""
        return Prefetch(issue, self.pieces, min(2, self.pieces))

    # ---- forward -----------------------------------------------------------------------------

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Send rows, have them multiplied, and add up what comes back."""
        gate, routes = self.gate(x, router), self._routes()

        def send(piece: int) -> Operand:
            rows = self.permute(x, routes[piece].picked)
            return self._to_experts(rows, route=routes[piece], label="dispatch")[0]

        coming = self._ahead(send)
        beside()
        pieces = tuple(
            self._multiplied(coming.take(), route, self._of(w.value, number))
            for number, route in enumerate(routes)
        )
        out: Operand | None = None
        for piece, route in zip(pieces, routes, strict=True):
            out = self.combine(piece.back, gate.weights, route.picked, add_to=out)
        assert out is not None
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.out")
        return out, Tape(gate, pieces)

    def _multiplied(self, rows: Operand, route: Route, w: Packed) -> Piece:
        """Record what experts make of rows that have come, and send it back."""
        rows, mlp = self._arranged(rows, route), self._mlp(route)
        tape = mlp.hidden(rows, w)
        back = self._arranged(mlp.down(tape, w), route, back=True)
        (back,) = self._from_experts(back, route=route, label="combine")
        return Piece(rows, tape, back)

    # ---- backward ----------------------------------------------------------------------------

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Send the gradients of rows to the experts, and those of their inputs back."""
        routes, dweights = self._routes(), list[Operand]()

        def send(number: int) -> Operand:
            route, back = routes[number], tape.pieces[number].back
            add_to = dweights[0] if dweights else None
            drows, dgate = self.combine_backward(
                dy, back, tape.gate.weights, route.picked, add_to=add_to
            )
            dweights[:] = [dgate]
            return self._to_experts(drows, route=route, label="combine")[0]

        coming = self._ahead(send)
        if self.pieces > 1:
            beside()
            beside = _nothing
        backs = []
        for number, route in enumerate(routes):
            drows = coming.take()
            if number + 1 == self.pieces:  # all that the router needs is there
                dlogits = self._router(dweights[0], normed, router, tape)
                beside()
            backs.append(self._piece_backward(drows, route, w, tape.pieces[number], number))
        return self._added(backs, routes, dy.shape[:2], dlogits, router)

    def _router(self, dweights: Operand, normed: Normed, router: Weights, tape: Tape) -> Operand:
        if self.sums:
            self.sums.all_reduce(dweights, lane="experts", label="dweights")
        return self.gate_backward(dweights, normed, router, tape.gate)

    def _piece_backward(
        self, drows: Operand, route: Route, w: Weights, piece: Piece, number: int
    ) -> Operand:
        """Record the gradients of a piece's experts, and send that of their rows back."""
        drows, mlp = self._arranged(drows, route), self._mlp(route)
        value, gradient = self._of(w.value, number), self._of(w.gradient, number)
        mlp.down_backward(drows, piece.mlp, value, gradient)
        dx = self._arranged(mlp.input_gradient(piece.mlp.ups, value), route, back=True)
        (dx,) = self._from_experts(dx, route=route, label="dispatch")
        self.rank.weighs(lambda: mlp.weight_gradients(piece.rows, piece.mlp.ups, gradient))
        return dx

    def _added(
        self,
        backs: Sequence[Operand],
        routes: Sequence[Route],
        tokens: tuple[int, ...],
        dlogits: Operand,
        router: Weights,
    ) -> Operand:
        """Return the gradient of the input."""
        out: Operand | None = None
        for dx, route in zip(backs, routes, strict=True):
            out = self.permute_backward(dx, route.picked, tokens, add_to=out)
        assert out is not None
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.din")
        return self.through_router(dlogits, router, out)


def _nothing() -> None:
    """Record nothing."""
