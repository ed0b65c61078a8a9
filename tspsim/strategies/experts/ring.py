"""Experts travel: their weights go round a ring, as TSP's MLP has it, and tokens stay.

What travels is a shard of the experts' weights: so many whole experts, or some columns of all of
them. Every rank multiplies its own rows with what comes by; gradients of weights grow hop by hop.
All ranks hold as many tokens and so have the same work, however skewed the routing is.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Packed, Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.recorder import view
from tspsim.program.rows import Groups, Picked, varying
from tspsim.program.types import Operand
from tspsim.program.varying import product
from tspsim.strategies.experts.base import Beside, ExpertLayer, ExpertMlp, GateTape
from tspsim.strategies.parts.gradient_ring import GradientRing
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import MlpTape
from tspsim.strategies.parts.prefetch import Prefetch, hops

#: Whole experts travel, or columns of all of them.
Shards = Literal["experts", "columns"]


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves: of the router, rows, what the shards left of them, what came of them."""

    gate: GateTape
    rows: Operand
    mlps: tuple[MlpTape, ...]
    out: Operand


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of the ring: the rows that the shard at hand is for.

    Parameters
    ----------
    mlp : ExpertMlp
    start : int
        The first of these rows; it varies where the shards are experts.
    groups : Groups
    """

    mlp: ExpertMlp
    start: int
    groups: Groups

    def of(self, rows: Operand) -> Operand:
        """Return the turn's part of all rows."""
        start = product((self.start, rows.shape[1]))
        return view(rows, start, (self.groups.rows, rows.shape[1]))


class ExpertsTravel(ExpertLayer):
    """Expert weights on a ring along one axis.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    over : tuple of str
    shards : {"experts", "columns"}
    slots : int
        Places for travelling weights, one in use and the others prefetched.
    """

    def __init__(
        self,
        rank: Rank,
        place: ActivationShard,
        over: tuple[str, ...],
        *,
        shards: Shards = "experts",
        slots: int = 2,
    ) -> None:
        super().__init__(rank, place, over)
        self.axis, self.shards, self.depth = rank.axis(over), shards, slots - 1
        self.slots, self.gradient_slots = rank.slots(slots), rank.slots(2)

    def parts(self) -> list[Part]:
        """Return the rank's shard."""
        return self.cut(columns=self.shards == "columns")

    def _picked(self) -> Picked:
        return Picked(self.dealing, self.rank.workload.batch)

    def _turn(self, step: int) -> Turn:
        """Return the turn in which the shard of the member `step` places before is at hand."""
        kept, degree = self.dealing.kept, self.degree
        owners = [(member - step) % degree for member in range(degree)]
        if self.shards == "columns":
            groups = Groups((kept,))
            return Turn(self._mlp(groups, varying(self.over, owners)), 0, groups)
        each = len(kept) // degree
        first = [owner * each for owner in owners]
        groups = Groups.of_blocks(self.over, [kept[i : i + each] for i in first])
        start = varying(self.over, [sum(kept[:i]) for i in first])
        return Turn(self._mlp(groups), start, groups)

    def _mlp(self, groups: Groups, block: int = 0) -> ExpertMlp:
        return ExpertMlp(self.rank, groups, block)

    def _arriving(self, w: Weights) -> Prefetch[Packed]:
        return hops(self.axis, w.value, self.slots, self.depth, "experts")

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """At step s a rank multiplies its rows with the shard of the member s places before."""
        gate, picked = self.gate(x, router), self._picked()
        rows, arriving = self.permute(x, picked), self._arriving(w)
        out = self.rank.tensor("down", rows.shape)
        tapes = []
        for step in range(self.degree):
            shard, turn = arriving.take() if step else w.value, self._turn(step)
            tape = turn.mlp.hidden(turn.of(rows), shard)
            turn.mlp.down(tape, shard, **self._target(turn.of(out), first=not step))
            tapes.append(tape)
        beside()
        y = self.combine(out, gate.weights, picked)
        return y, Tape(gate, rows, tuple(tapes), out)

    def _target(self, rows: Operand, *, first: bool) -> dict[str, Operand]:
        """Return where a turn writes its rows, or adds to what earlier turns wrote there."""
        return {"out" if first or self.shards == "experts" else "add_to": rows}

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Weights go round again; dW grows hop by hop and reaches its owner last."""
        picked = self._picked()
        drows, dweights = self.combine_backward(dy, tape.out, tape.gate.weights, picked)
        dlogits = self.gate_backward(dweights, normed, router, tape.gate)
        beside()
        dx = self.rank.tensor("dx", tape.rows.shape)
        arriving = self._arriving(w)
        ring = GradientRing(self.rank, self.axis, w, self.gradient_slots, "dexperts")
        first = True
        for step in (*range(1, self.degree), 0):
            shard, turn = arriving.take() if step else w.value, self._turn(step)
            kept, mine = tape.mlps[step], turn.of(drows)
            turn.mlp.hidden_backward(mine, kept, shard)
            turn.mlp.input_gradient(kept.ups, shard, **self._target(turn.of(dx), first=first))
            first = False
            record = partial(turn.mlp.gradients, turn.of(tape.rows), mine, kept)
            self.rank.weighs(partial(ring.travel if step else ring.arrive, record))
        out = self.permute_backward(dx, picked, dy.shape[:2])
        return self.through_router(dlogits, router, out)
