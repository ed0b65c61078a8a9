"""Tokens travel: to the ranks of their experts, and what these make of them back.

Experts are dealt over axes. Along those over which ranks hold different tokens, rows go by an
all-to-all to the ranks of their experts (GShard, arXiv 2006.16668; Megatron-LM's alltoall
dispatcher); along those over which all hold the same tokens nothing travels: every rank computes
what its own experts make of them, and an all-reduce adds it up.
"""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.kinds.dispatch import Arrange, Exchange
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.rows import Groups, Picked
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, ExpertLayer, GateTape, Products
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import Mlp, MlpTape


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves: of the router, the rows at the experts and what came back of them."""

    gate: GateTape
    rows: Operand
    mlp: MlpTape
    back: Operand


@dataclass(frozen=True, slots=True)
class Route:
    """The way of a layer's rows.

    Parameters
    ----------
    picked : Picked
        Those that a rank sends.
    blocks : tuple of tuple of int
        By coordinate of the axes along which nothing travels: rows for every member of the others.
    counts : tuple of tuple of int
        By coordinate of all axes: the rows of every expert there, of one sender.
    senders : int
    groups : Groups
        The rows of every expert, of all senders.
    """

    picked: Picked
    blocks: tuple[tuple[int, ...], ...]
    counts: tuple[tuple[int, ...], ...]
    senders: int
    groups: Groups


class TokensTravel(ExpertLayer):
    """Experts dealt over axes, a block of whole ones to every rank.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    here : tuple of str
        The axes along which ranks hold the same tokens.
    travel : tuple of str
        Those along which they hold different ones.
    """

    def __init__(
        self, rank: Rank, place: ActivationShard, here: tuple[str, ...], travel: tuple[str, ...]
    ) -> None:
        super().__init__(rank, place, (*here, *travel))
        self.here, self.senders = here, rank.mesh.degree(travel)
        self.ways: Axis | None = rank.axis(travel) if self.senders > 1 else None
        self.sums: Axis | None = rank.axis(here) if rank.mesh.degree(here) > 1 else None

    def parts(self) -> list[Part]:
        """Return whole experts."""
        return self.cut(columns=False)

    def _route(self) -> Route:
        dealing, here = self.dealing, self.degree // self.senders
        each = len(dealing.kept) // self.degree
        starts = range(0, len(dealing.kept), each)
        counts = [dealing.kept[i : i + each] for i in starts]
        rows = [sum(block) for block in counts]
        blocks = tuple(
            tuple(rows[i : i + self.senders]) for i in range(0, self.degree, self.senders)
        )
        groups = Groups.of_blocks(self.over, [tuple(self.senders * n for n in c) for c in counts])
        axes = self.here if here > 1 else None
        picked = Picked(dealing, self.rank.workload.batch, 1, axes, here)
        return Route(picked, blocks, tuple(counts), self.senders, groups)

    # ---- rows on their way -------------------------------------------------------------------

    def _to_experts(self, rows: Operand, route: Route, label: str) -> Operand:
        """Send rows to the ranks of their experts."""
        if self.ways is None:
            return rows
        kind = Exchange(route.blocks, self.here or None)
        return self.ways.exchange(rows, kind, route.groups.rows, lane="experts", label=label)

    def _from_experts(self, rows: Operand, route: Route, label: str) -> Operand:
        """Send rows back to where they came from."""
        if self.ways is None:
            return rows
        kind = Exchange(route.blocks, self.here or None, back=True)
        return self.ways.exchange(rows, kind, route.picked.rows, lane="experts", label=label)

    def _arranged(self, rows: Operand, route: Route, *, back: bool = False) -> Operand:
        """Return rows expert by expert, or sender by sender again."""
        if route.senders == 1 or route.groups.experts == 1:
            return rows
        out = self.rank.tensor("arranged", rows.shape)
        kind = Arrange(route.counts, route.senders, self.over, back)
        self.rank.compute(kind, (rows,), (out,), "arrange")
        return out

    # ---- forward and backward ----------------------------------------------------------------

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Send rows, have them multiplied, and add up what comes back."""
        gate, route = self.gate(x, router), self._route()
        rows = self._to_experts(self.permute(x, route.picked), route, "dispatch")
        beside()
        rows = self._arranged(rows, route)
        mlp = self._mlp(route)
        tape = mlp.hidden(rows, w.value)
        back = self._arranged(mlp.down(tape, w.value), route, back=True)
        back = self._from_experts(back, route, "combine")
        out = self.combine(back, gate.weights, route.picked)
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.out")
        return out, Tape(gate, rows, tape, back)

    def _mlp(self, route: Route) -> Mlp:
        return Mlp(self.rank, Products(self.rank, route.groups), "experts.")

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Send the gradients of rows to the experts, and those of their inputs back."""
        route = self._route()
        drows, dweights = self.combine_backward(dy, tape.back, tape.gate.weights, route.picked)
        if self.sums:
            self.sums.all_reduce(dweights, lane="experts", label="dweights")
        drows = self._to_experts(drows, route, "combine")
        dlogits = self.gate_backward(dweights, normed, router, tape.gate)
        beside()
        drows = self._arranged(drows, route)
        mlp = self._mlp(route)
        mlp.down_backward(drows, tape.mlp, w.value, w.gradient)
        dx = mlp.input_gradient(tape.mlp.ups, w.value)
        dx = self._from_experts(self._arranged(dx, route, back=True), route, "dispatch")
        self.rank.weighs(lambda: mlp.weight_gradients(tape.rows, tape.mlp.ups, w.gradient))
        out = self.permute_backward(dx, route.picked, dy.shape[1])
        if self.sums:
            self.sums.all_reduce(out, lane="experts", label="experts.din")
        return self.through_router(dlogits, router, out)
