"""Every expert is cut: all ranks have a part of each, and see all tokens (Megatron-LM's ETP)."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.rows import Groups, Picked, varying
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import Beside, ExpertLayer, ExpertMlp, GateTape
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import MlpTape


@dataclass(frozen=True, slots=True)
class Tape:
    """What forward leaves: of the router, all tokens' weights, rows, and what came of them."""

    gate: GateTape
    weights: Operand
    rows: Operand
    mlp: MlpTape
    out: Operand


class ExpertsCut(ExpertLayer):
    """Columns of every expert, cut over axes.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
    here : tuple of str
        The axes along which ranks hold the same tokens.
    gathered : tuple of str
        Those along which they hold different ones, and gather them.
    """

    def __init__(
        self, rank: Rank, place: ActivationShard, here: tuple[str, ...], gathered: tuple[str, ...]
    ) -> None:
        super().__init__(rank, place, (*here, *gathered))
        self.sources = rank.mesh.degree(gathered)
        self.ways: Axis | None = rank.axis(gathered) if self.sources > 1 else None
        self.sums: Axis | None = rank.axis(here) if rank.mesh.degree(here) > 1 else None

    def parts(self) -> list[Part]:
        """Return columns of all experts."""
        return self.cut(columns=True)

    def _picked(self) -> Picked:
        return Picked(self.dealing, self.rank.workload.batch, self.sources)

    def _mlp(self, picked: Picked) -> ExpertMlp:
        counts = tuple(n * picked.sources for n in picked.dealing.kept)
        block = varying(self.over, range(self.degree))
        return ExpertMlp(self.rank, Groups((counts,)), block)

    def _gathered(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        if self.ways is None:
            return xs
        return self.ways.all_gather(*xs, dim=1, lane="experts", label=label)

    def _summed(self, *xs: Operand, label: str) -> tuple[Operand, ...]:
        """Add up over ranks; where tokens were gathered, each gets its own."""
        if self.sums:
            self.sums.all_reduce(*xs, lane="experts", label=label)
        if self.ways:
            xs = self.ways.reduce_scatter(*xs, dim=1, lane="experts", label=label)
        return xs

    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Tape]:
        """Gather tokens, multiply their rows with the rank's columns, and add up."""
        gate, picked = self.gate(x, router), self._picked()
        x, weights = self._gathered(x, gate.weights, label="experts.in")
        beside()
        rows, mlp = self.permute(x, picked), self._mlp(picked)
        tape = mlp.hidden(rows, w.value)
        made = mlp.down(tape, w.value)
        (out,) = self._summed(self.combine(made, weights, picked), label="experts.out")
        return out, Tape(gate, weights, rows, tape, made)

    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Tape, beside: Beside
    ) -> Operand:
        """Mirror `forward`; what is a weight's gradient is a sum over ranks, too."""
        picked = self._picked()
        (dy,) = self._gathered(dy, label="experts.dout")
        beside()
        drows, dweights = self.combine_backward(dy, tape.out, tape.weights, picked)
        mlp = self._mlp(picked)
        mlp.down_backward(drows, tape.mlp, w.value, w.gradient)
        dx = self.permute_backward(mlp.input_gradient(tape.mlp.ups, w.value), picked, dy.shape[:2])
        dx, dweights = self._summed(dx, dweights, label="experts.din")
        self.rank.weighs(lambda: mlp.weight_gradients(tape.rows, tape.mlp.ups, w.gradient))
        dlogits = self.gate_backward(dweights, normed, router, tape.gate)
        return self.through_router(dlogits, router, dx)
