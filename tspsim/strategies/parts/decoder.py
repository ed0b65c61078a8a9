"""The skeleton of a step that all strategies share: micro-batches, layers, backward, optimizer.

A strategy fills in how attention and MLP run on its mesh. What backward needs stays alive only
because backward reads it: nothing here frees or saves anything.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from tspsim.mesh import DP
from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.ends import Ends
from tspsim.strategies.parts.replicas import begin, update
from tspsim.strategies.parts.weights import Cut

#: Gives a norm's output: the kept one, or one computed again when it is asked for.
Normed: TypeAlias = Callable[[], Operand]


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Resident weights of one layer."""

    norm1: Weights
    attention: Weights
    norm2: Weights
    mlp: Weights

    @property
    def packs(self) -> tuple[Weights, ...]:
        """All of them, in the order in which forward reads them."""
        return (self.norm1, self.attention, self.norm2, self.mlp)


@dataclass(frozen=True, slots=True)
class LayerTape:
    """What one layer's forward leaves for its backward; None is what has to be recomputed.

    Parameters
    ----------
    x, middle : Operand
        The residual stream before the layer, and between attention and MLP.
    normed1, normed2 : Operand
        Outputs of the two norms.
    attention, mlp : Any
        What the strategy's own forward left.
    """

    x: Operand
    middle: Operand | None = None
    normed1: Operand | None = None
    normed2: Operand | None = None
    attention: Any = None
    mlp: Any = None


class Decoder(ABC):
    """Records a step of a decoder; a strategy subclasses it.

    Parameters
    ----------
    rank : Rank
    cut : Cut
        How weights are cut.
    place : ActivationShard
        Which tokens the rank holds between blocks.
    gather_axis : str or None
        The axis of `cut` over which tokens are cut too: the ends of the model gather over it.
    """

    #: Under ``recompute: full``, backward recomputes a layer's parts by itself from `x` and
    #: `middle`; otherwise the whole forward of the layer runs again from `x`.
    recomputes_inside = False

    def __init__(
        self, rank: Rank, cut: Cut, place: ActivationShard, gather_axis: str | None
    ) -> None:
        self.rank, self.cut, self.place = rank, cut, place
        self.recompute = rank.workload.recompute
        self.layers = {index: self._declare(index) for index in rank.layers}
        self.ends = Ends(rank, cut, place, gather_axis) if rank.model.vocab else None
        self.loss = rank.resident("loss", (1,), 4, "activation")
        if rank.holds_last_layer:
            rank.bind(self.loss, "loss", None, "loss")
        begin(rank, self._weights())

    def _declare(self, index: int) -> LayerWeights:
        rank, cut = self.rank, self.cut
        with rank.at(layer=index):
            return LayerWeights(
                norm1=rank.weights("norm1", [cut.norm("norm1")]),
                attention=rank.weights("attention", cut.attention()),
                norm2=rank.weights("norm2", [cut.norm("norm2")]),
                mlp=rank.weights("mlp", cut.mlp()),
            )

    def _weights(self) -> Iterator[Operand]:
        """Yield all weights, each once, in the order in which forward reads them."""
        ends = self.ends.weights if self.ends else ()  # embedding, head, final norm
        layers = (w for layer in self.layers.values() for w in layer.packs)
        yield from (w.value.flat for w in (*ends[:1], *layers, *ends[:0:-1]))

    # ---- what a strategy fills in ------------------------------------------------------------

    @abstractmethod
    def attention(self, x: Operand, w: Weights, kept: Any) -> tuple[Operand, Any]:
        """Return the attention block's output and its tape; `kept` is what `keeps` kept."""

    @abstractmethod
    def attention_backward(self, dy: Operand, normed: Normed, w: Weights, tape: Any) -> Operand:
        """Return the gradient of the attention block's input."""

    @abstractmethod
    def mlp(self, x: Operand, w: Weights) -> tuple[Operand, Any]:
        """Return the MLP's output and its tape."""

    @abstractmethod
    def mlp_backward(self, dy: Operand, normed: Normed, w: Weights, tape: Any) -> Operand:
        """Return the gradient of the MLP's input."""

    def keeps(self, tape: Any) -> Any:  # noqa: ARG002
        """Return what of the attention's tape survives ``recompute: full``."""
        return None

    @abstractmethod
    def reduce_gradients(self, layer: LayerWeights | None) -> None:
        """Sum over ranks what is still partial: of a layer, or of the ends (None)."""

    def reduce_shared_heads(self, gradient: Packed) -> None:
        """Sum the gradients of key/value heads that neighbours hold alike."""
        if self.cut.axis and self.cut.replicas > 1:
            neighbours = self.rank.axis(self.cut.axis, self.cut.replicas)
            parts = [gradient[name] for name in ("k0", "v0", "bk0", "bv0") if name in gradient]
            neighbours.all_reduce(*parts, lane="kv_heads", label="gradients.kv_heads")

    @abstractmethod
    def reduce_loss(self) -> None:
        """Sum the loss over the strategy's axes that cut the tokens."""

    # ---- a step ------------------------------------------------------------------------------

    def step(self) -> None:
        """Record all micro-batches, one after another through all layers, and the optimizer step.

        A strategy with stages calls what this is made of in the order of its schedule.
        """
        count = self.rank.workload.micro_batches
        for number in range(count):
            self.rank.micro_batch = number
            y, tapes = self.forward(self.input())
            dy = self.output_gradient(y)
            if dy is not None:
                dx = self.backward(dy, tapes, last=number + 1 == count)
                self.input_gradient(dx, last=number + 1 == count)
        self.finish()

    def finish(self) -> None:
        """Record what comes once per step: the loss, gradients over replicas, the optimizer."""
        has_loss = self.rank.holds_last_layer and (self.ends is not None or self.rank.trains)
        if has_loss:
            self.reduce_loss()
        if self.rank.trains:
            with self.rank.at(phase="optimizer"):
                update(self.rank)
        if has_loss:  # behind the gradients: nothing waits for it
            self.rank.axis(DP).all_reduce(self.loss, lane="gradients", label="loss")

    def forward(self, x: Operand) -> tuple[Operand, list[LayerTape]]:
        """Return the output of this rank's layers, and what their backward reads."""
        tapes = []
        for index, weights in self.layers.items():
            with self.rank.at(layer=index):
                x, tape = self._forward(x, weights)
                tapes.append(tape)
        return x, tapes

    def backward(self, dy: Operand, tapes: Sequence[LayerTape], *, last: bool) -> Operand:
        """Return the gradient of these layers' input; the `last` micro-batch sums over ranks."""
        pairs = zip(reversed(self.layers.items()), reversed(tapes), strict=True)
        for (index, weights), tape in pairs:
            with self.rank.at(phase="backward", layer=index):
                dy = self._backward(dy, weights, tape)
                if last:
                    self.reduce_gradients(weights)
        return dy

    def input(self) -> Operand:
        """Return the first layer's input."""
        if self.ends:
            return self.ends.embed()
        shape = self.place.shape(self.rank.workload.batch, self.rank.model.hidden)
        x = self.rank.given("x", shape, self.rank.workload.itemsize)
        self.rank.bind(x, f"input.{self.rank.micro_batch}", self.place, "value")
        return x

    def output_gradient(self, x: Operand) -> Operand | None:
        """Record the loss; return the gradient of the last layer's output when training."""
        self.rank.probe(x, f"output.{self.rank.micro_batch}", self.place)
        if self.ends:
            return self.ends.head(x, self.loss)
        if not self.rank.trains:
            return None
        self.rank.objective(x, self.loss)
        return x

    def input_gradient(self, dx: Operand, *, last: bool) -> None:
        """Record what becomes of the gradient of the first layer's input."""
        self.rank.probe(dx, f"dinput.{self.rank.micro_batch}", self.place)
        if self.ends:
            with self.rank.at(phase="backward"):
                self.ends.embed_backward(dx)
                if last:
                    self.reduce_gradients(None)

    # ---- a layer -----------------------------------------------------------------------------

    def _forward(self, x: Operand, w: LayerWeights) -> tuple[Operand, LayerTape]:
        tape, middle, out = self._blocks(x, w, None)
        y = self.rank.add(middle, to=out, label="residual2")
        if self.recompute != "full":
            return y, tape
        if self.recomputes_inside:
            return y, LayerTape(x, middle, attention=self.keeps(tape.attention))
        return y, LayerTape(x, attention=self.keeps(tape.attention))

    def _blocks(self, x: Operand, w: LayerWeights, kept: Any) -> tuple[LayerTape, Operand, Operand]:
        """Record both blocks; return the tape, the stream between them, and the MLP's output."""
        rank = self.rank
        normed1 = rank.norm(x, w.norm1.value.flat, "norm1")
        y, attention = self.attention(normed1, w.attention, kept)
        middle = rank.add(x, to=y, label="residual1")
        normed2 = rank.norm(middle, w.norm2.value.flat, "norm2")
        out, mlp = self.mlp(normed2, w.mlp)
        return LayerTape(x, middle, normed1, normed2, attention, mlp), middle, out

    def _again(self, tape: LayerTape, w: LayerWeights) -> LayerTape:
        """Run a layer's forward again; norm outputs are cheap and not kept a second time."""
        with self.rank.at(phase="recompute"):
            fresh, middle, _ = self._blocks(tape.x, w, tape.attention)
        return LayerTape(tape.x, middle, None, None, fresh.attention, fresh.mlp)

    def _backward(self, dy: Operand, w: LayerWeights, tape: LayerTape) -> Operand:
        if self.recompute == "full" and not self.recomputes_inside:
            tape = self._again(tape, w)
        assert tape.middle is not None
        normed = self._normed(tape.normed2, tape.middle, w.norm2, "norm2")
        dnormed = self.mlp_backward(dy, normed, w.mlp, tape.mlp)
        dy = self._norm_backward(dnormed, tape.middle, w.norm2, "norm2", dy)
        normed = self._normed(tape.normed1, tape.x, w.norm1, "norm1")
        dnormed = self.attention_backward(dy, normed, w.attention, tape.attention)
        return self._norm_backward(dnormed, tape.x, w.norm1, "norm1", dy)

    def _norm_backward(
        self, dy: Operand, x: Operand, w: Weights, label: str, residual: Operand
    ) -> Operand:
        pair = (w.value.flat, w.gradient.flat)
        return self.rank.norm_backward(dy, x, pair, label, add_to=residual)

    def _normed(self, kept: Operand | None, x: Operand, w: Weights, label: str) -> Normed:
        cache = [kept] if kept else []

        def normed() -> Operand:
            if not cache:
                with self.rank.at(phase="recompute"):
                    cache.append(self.rank.norm(x, w.value.flat, label))
            return cache[0]

        return normed
