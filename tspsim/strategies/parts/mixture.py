"""The block of a layer that has experts: their layout, and the experts that all tokens go to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from tspsim.mesh import names_of
from tspsim.program.activations import ActivationShard
from tspsim.program.by_expert import EXPERTS
from tspsim.program.kinds.routing import Scale, ScaleBackward
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.experts.base import ExpertLayer
from tspsim.strategies.parts.layers import LayerWeights, Normed

if TYPE_CHECKING:
    from tspsim.strategies.parts.decoder import Decoder

#: Makes the layout of a rank's experts.
MakeExperts: TypeAlias = Callable[[Rank, ActivationShard], ExpertLayer | None]


@dataclass(frozen=True, slots=True)
class SharedTape:
    """What the experts that all tokens go to leave: the MLP's tape, its output, and its gate."""

    mlp: Any
    output: Operand
    gate: Operand | None = None


@dataclass(frozen=True, slots=True)
class MixtureTape:
    """What both leave."""

    experts: Any
    shared: SharedTape | None = None


class Mixture:
    """Experts of all layers of a rank.

    Parameters
    ----------
    decoder : Decoder
        Runs the shared experts as it runs an MLP.
    layout : ExpertLayer
    """

    def __init__(self, decoder: Decoder, layout: ExpertLayer) -> None:
        self.decoder, self.rank, self.layout = decoder, decoder.rank, layout
        inside = names_of(self.rank.experts_replication.inside)
        cut = (*names_of(decoder.place.tokens.axis), *names_of(decoder.place.inner_axis))
        self._partial = tuple(name for name in cut if name not in (*layout.apart, *inside))

    def declare(self) -> dict[str, Weights | None]:
        """Declare a layer's weights."""
        rank, cut = self.rank, self.decoder.cut
        weights: dict[str, Weights | None] = {
            "router": rank.weights("router", cut.router()),
            "experts": rank.weights(EXPERTS, self._parts(), rank.experts_replication),
        }
        if cut.shared():
            weights["mlp"] = rank.weights("shared", cut.shared())
        return weights

    def _parts(self) -> list[Part]:
        """Return a rank's experts; more sharers than experts cut each, as torchtitan does.

        Where every sharer gets an expert or more they are dealt, else outputs of each are.
        """
        parts = self.layout.parts()
        sharers = self.rank.mesh.degree(self.rank.experts_replication.inside)
        return [p._replace(outputs=-1) if sharers > p.shape[0] else p for p in parts]

    def reduce(self, w: Weights) -> None:
        """Sum the gradients of experts over axes along which ranks hold them alike."""
        if self._partial and self.rank.mesh.degree(self._partial) > 1:
            axis = self.rank.axis(self._partial)
            axis.all_reduce(w.gradient.flat, lane="gradients", label="gradients.experts")

    def forward(self, x: Operand, w: LayerWeights) -> tuple[Operand, MixtureTape]:
        """Return what experts and shared experts make of the rank's tokens, added up."""
        assert w.router is not None and w.experts is not None
        shared: list[SharedTape] = []
        weights = w.mlp

        def beside() -> None:
            if weights is not None:
                shared.append(self._shared(x, weights, w))

        out, tape = self.layout.forward(x, w.router, w.experts, beside)
        if not shared:
            return out, MixtureTape(tape)
        ((tape_shared, scaled),) = [(s, self._scaled(s)) for s in shared]
        self.rank.add(scaled, to=out, label="shared")
        return out, MixtureTape(tape, tape_shared)

    def _shared(self, x: Operand, mlp: Weights, w: LayerWeights) -> SharedTape:
        assert w.router is not None
        output, tape = self.decoder.mlp(x, mlp)
        if "scale" not in w.router.value:
            return SharedTape(tape, output)
        gate = self.rank.matmul(x, w.router.value["scale"], "shared.gate")
        return SharedTape(tape, output, gate)

    def _scaled(self, tape: SharedTape) -> Operand:
        if tape.gate is None:
            return tape.output
        out = self.rank.tensor("shared", tape.output.shape)
        self.rank.compute(Scale(), (tape.output, tape.gate), (out,), "shared.scale")
        return out

    def backward(
        self, dy: Operand, normed: Normed, w: LayerWeights, tape: MixtureTape | None
    ) -> Operand:
        """Return the gradient of the input."""
        assert w.router is not None and w.experts is not None
        if tape is None:
            tape = self._again(normed(), w)
        kept, shared = tape, list[Operand]()

        def beside() -> None:
            if kept.shared is not None:
                shared.append(self._shared_backward(dy, normed, w, kept.shared))

        dx = self.layout.backward(dy, normed, w.router, w.experts, kept.experts, beside)
        for more in shared:
            self.rank.add(more, to=dx, label="dshared")
        return dx

    def _again(self, x: Operand, w: LayerWeights) -> MixtureTape:
        """Run the forward again."""
        with self.rank.at(phase="recompute"):
            return self.forward(x, w)[1]

    def _shared_backward(
        self, dy: Operand, normed: Normed, w: LayerWeights, tape: SharedTape
    ) -> Operand:
        assert w.mlp is not None
        if tape.gate is None:
            return self.decoder.mlp_backward(dy, normed, w.mlp, tape.mlp)
        rank, router = self.rank, w.router
        assert router is not None
        dscaled, dgate = rank.tensor("dscaled", dy.shape), rank.tensor("dgate", tape.gate.shape)
        inputs = (dy, tape.output, tape.gate)
        rank.compute(ScaleBackward(), inputs, (dscaled, dgate), "dshared.scale")
        dx = self.decoder.mlp_backward(dscaled, normed, w.mlp, tape.mlp)
        into = router.gradient["scale"]
        rank.weighs(lambda: rank.weight_gradient(normed(), dgate, into, "shared.gate"))
        return rank.matmul(
            dgate, router.value["scale"], "dx.shared.gate", add_to=dx, transpose_b=True
        )
