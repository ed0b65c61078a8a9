"""The skeleton of a decoder that all strategies share: layers, backward, the end of a step.

A strategy fills in how attention and MLP run on its mesh. What backward needs stays alive only
because backward reads it: nothing here frees or saves anything. In which order micro-batches pass
is the schedule's (`strategies/parts/pipeline.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import NormTape, Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.copies import sum_copies
from tspsim.strategies.parts.ends import Ends, HeadTape
from tspsim.strategies.parts.groups import Group, Groups
from tspsim.strategies.parts.latent_down import Down
from tspsim.strategies.parts.layers import LayerTape, LayerWeights, LazyNorm, Normed
from tspsim.strategies.parts.pipeline import play
from tspsim.strategies.parts.replicas import begin, update
from tspsim.strategies.parts.stamps import Left, Stamps
from tspsim.strategies.parts.weights import Cut


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
        self.down = self._down() if rank.model.latent else None
        self.stamps = Stamps(rank)
        groups = Groups(rank)
        self.layers = {index: self._declare(index) for index in rank.layers}
        self.groups = {i: Group(groups, w.packs, i) for i, w in self.layers.items()}
        self.ends = Ends(rank, cut, place, gather_axis, groups) if rank.model.vocab else None
        #: Gradients are reduced behind every micro-batch, not once per step.
        self.syncs = groups.syncs
        self.loss = rank.resident("loss", (1,), 4, "activation")
        if rank.holds_last_layer:
            rank.bind(self.loss, "loss", None, "loss")
        begin(rank, self._weights())

    def _down(self) -> Down:
        """Return latent attention's ways down: whole on every rank, as norms are."""
        return Down(self.rank, self.place)

    def _declare(self, index: int) -> LayerWeights:
        rank, cut, down = self.rank, self.cut, self.down
        with rank.at(layer=index):
            return LayerWeights(
                norm1=rank.weights("norm1", [cut.norm("norm1")]),
                down=rank.weights("latent", down.matrices()) if down else None,
                latent_norms=rank.weights("latent.norms", down.norms()) if down else None,
                attention=rank.weights("attention", cut.attention()),
                bias1=self._declare_bias("attention"),
                norm2=rank.weights("norm2", [cut.norm("norm2")]),
                mlp=rank.weights("mlp", cut.mlp()),
                bias2=self._declare_bias("mlp"),
            )

    def _declare_bias(self, block: Literal["attention", "mlp"]) -> Weights | None:
        parts = self.cut.output_bias(block)
        return self.rank.weights(f"{block}.bias", parts) if parts else None

    def _weights(self) -> Iterator[Operand]:
        """Yield all weights, each once, in the order in which forward reads them."""
        first, behind = self.ends.in_order if self.ends else ((), ())
        layers = (w for layer in self.layers.values() for w in layer.packs)
        yield from (w.value.flat for w in (*first, *layers, *behind))

    # ---- what a strategy fills in ------------------------------------------------------------

    @abstractmethod
    def attention(self, x: Any, w: Weights, kept: Any) -> tuple[Operand, Any]:
        """Return the attention block's output and its tape; `kept` is what `keeps` kept.

        Its input is an operand, or latents.
        """

    @abstractmethod
    def attention_backward(
        self, dy: Operand, normed: Callable[[], Any], w: Weights, tape: Any
    ) -> Any:
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
    def reduce_gradients(self, between: Sequence[Weights], matrices: Sequence[Weights]) -> None:
        """Sum over ranks what is still partial of some weights: of a layer, or of the ends."""

    def reduce_shared_heads(self, gradient: Packed) -> None:
        """Sum the gradients of key/value heads that neighbours hold alike."""
        if self.cut.axis and self.cut.replicas > 1:
            neighbours = self.rank.axis(self.cut.axis, self.cut.replicas)
            parts = [gradient[name] for name in ("k0", "v0", "bk0", "bv0") if name in gradient]
            neighbours.all_reduce(*parts, lane="kv_heads", label="gradients.kv_heads")

    @abstractmethod
    def reduce_loss(self) -> None:
        """Sum the loss over the strategy's axes that cut the tokens."""

    # ---- what a step is made of --------------------------------------------------------------

    def step(self) -> None:
        """Record a step: the rank's actions in the order of its schedule, and the optimizer."""
        play(self, self.rank)
        self.finish()

    def finish(self) -> None:
        """Record what comes once per step: the loss, gradients over replicas, the optimizer."""
        if self.rank.trains:
            with self.rank.at(phase="backward"):
                self._finish_gradients()
        has_loss = self.rank.holds_last_layer and (self.ends is not None or self.rank.trains)
        if has_loss:
            self.reduce_loss()
            sum_copies(self.rank, [self.loss])
        if self.rank.trains:
            with self.rank.at(phase="optimizer"):
                update(self.rank)
        if has_loss:  # behind the gradients: nothing waits for it
            self.rank.replica_axis.all_reduce(self.loss, lane="gradients", label="loss")

    def _finish_gradients(self) -> None:
        """Sum what is not a layer's own, and what other stages hold alike."""
        if self.ends:
            if not self.syncs:
                self._reduce_ends()
            self.ends.sum_tied()
        sum_copies(self.rank, self.rank.residents("gradient"))

    def _reduce_ends(self) -> None:
        assert self.ends is not None
        group = self.ends.group
        norms, tables = (
            [group.now(w, gradient=True) for w in some]
            for some in (self.ends.norms, self.ends.tables)
        )
        self.reduce_gradients(norms, tables)
        group.reduce()

    def forward(self, x: Operand, layers: range) -> tuple[Operand, list[Left]]:
        """Return the output of some layers, and what their backward reads."""
        tapes = []
        for index in layers:
            with self.rank.at(layer=index):
                group = self.groups[index]
                group.begin()
                w = self.layers[index].now(group)
                record = partial(self._forward, x, w)
                x, left = self.stamps.run((layers, "F"), (x, *w.flats), None, record)
                group.leave()
            tapes.append(left)
        return x, tapes

    def backward(self, dy: Operand, tapes: Sequence[Left], layers: range, *, last: bool) -> Operand:
        """Return the gradient of some layers' input; the `last` micro-batch sums over ranks."""
        key = (layers, "B", self.rank.postpones)
        for index, left in reversed(list(zip(layers, tapes, strict=True))):
            group = self.groups[index]
            with self.rank.at(layer=index, phase="backward"):
                group.begin()
                if index > layers[0]:
                    self.groups[index - 1].gather()  # the next in backward
                w = self.layers[index].now(group, gradient=True)
                record = partial(self._backward, dy, w)
                dy, _ = self.stamps.run(key, (dy, *w.flats), left, record)
                group.finish()
                if last or self.syncs:
                    self.rank.weighs(partial(self._reduce, group, w))
        return dy

    def _reduce(self, group: Group, w: LayerWeights) -> None:
        self.reduce_shared_heads(w.attention.gradient)
        self.reduce_gradients(w.between, (w.attention, w.mlp))
        group.reduce()

    def input(self) -> Operand:
        """Return the first layer's input."""
        if self.ends:
            return self.ends.embed()
        shape = self.place.shape(self.rank.workload.batch, self.rank.model.hidden)
        x = self.rank.given("x", shape, self.rank.workload.itemsize)
        self.rank.bind(x, f"input.{self.rank.micro_batch}", self.place, "value")
        return x

    def output(self, x: Operand) -> Operand | HeadTape:
        """Record what becomes of the last layer's output; return what its backward reads."""
        self.rank.probe(x, f"output.{self.rank.micro_batch}", self.place)
        return self.ends.head(x, self.loss) if self.ends else x

    def output_gradient(self, tape: Operand | HeadTape) -> Operand:
        """Return the gradient of the last layer's output."""
        if isinstance(tape, HeadTape):
            assert self.ends is not None
            if self.layers:
                self.groups[max(self.layers)].gather()  # it is next
            return self.ends.head_backward(tape)
        self.rank.objective(tape, self.loss)
        return tape

    def input_gradient(self, dx: Operand) -> None:
        """Record what becomes of the gradient of the first layer's input."""
        self.rank.probe(dx, f"dinput.{self.rank.micro_batch}", self.place)
        if self.ends:
            with self.rank.at(phase="backward"):
                self.rank.weighs(partial(self.ends.embed_backward, dx))
                self.ends.group.finish()
                if self.syncs:
                    self._reduce_ends()

    # ---- a layer -----------------------------------------------------------------------------

    def _forward(self, x: Operand, w: LayerWeights, _: None) -> tuple[Operand, LayerTape]:
        with self.rank.issued(1):
            tape, y = self._blocks(x, w, None)
            tape = self._joined(tape, y, w)
        if self.recompute != "full":
            return y, tape
        if self.recomputes_inside:
            gone = replace(tape, norm1=None, norm2=None, mlp=None, latents=None)
            return y, replace(gone, **self._survivors(tape))
        return y, LayerTape(x, **self._survivors(tape))

    def _survivors(self, tape: LayerTape) -> dict[str, Any]:
        return {"attention": self.keeps(tape.attention)}

    def _blocks(self, x: Operand, w: LayerWeights, kept: Any) -> tuple[LayerTape, Operand]:
        """Record both blocks; return the tape, and the MLP's output."""
        rank = self.rank
        matrices = self.down.bring(w) if self.down else {}  # what travels does so behind the norm
        norm1 = rank.norm(x, w.norm1.value.flat, "norm1")
        latents = self.down and self.down.forward(norm1.output, w, matrices)
        read = latents.latents if latents else norm1.output
        middle, attention = self.attention(read, w.attention, kept)
        mask = rank.join(x, to=middle, bias=_value(w.bias1), label="residual1")
        norm2 = rank.norm(middle, w.norm2.value.flat, "norm2")
        out, mlp = self.mlp(norm2.output, w.mlp)
        return LayerTape(x, middle, norm1, norm2, attention, mlp, mask, latents=latents), out

    def _joined(self, tape: LayerTape, out: Operand, w: LayerWeights) -> LayerTape:
        """Add the stream to the MLP's output; return the tape with the mask of its dropout."""
        assert tape.middle is not None
        mask = self.rank.join(tape.middle, to=out, bias=_value(w.bias2), label="residual2")
        return replace(tape, mask2=mask)

    def _again(self, tape: LayerTape, w: LayerWeights) -> LayerTape:
        """Run a layer's forward again."""
        with self.rank.at(phase="recompute"), self.rank.issued(1):
            fresh, out = self._blocks(tape.x, w, tape.attention)
            if self.rank.kernels.dropout:
                fresh = self._joined(fresh, out, w)
        if self.rank.kernels.recomputed == "autograd":
            return fresh
        return replace(fresh, norm1=None, norm2=None)  # cheap, and not kept a second time

    def _backward(self, dy: Operand, w: LayerWeights, tape: LayerTape) -> tuple[Operand, None]:
        again = self.recompute == "full"
        if again and not self.recomputes_inside:
            tape = self._again(tape, w)
        with self.rank.issued(3 if again and self.recomputes_inside else 2):
            dx = self._through(dy, w, tape)
        return dx, None

    def _through(self, dy: Operand, w: LayerWeights, tape: LayerTape) -> Operand:
        """Return the gradient behind both blocks."""
        rank = self.rank
        assert tape.middle is not None
        norm = self._lazy(tape.norm2, tape.middle, w.norm2, "norm2")
        dropped = rank.masked(dy, tape.mask2, "ddropout2")
        self._bias_gradient(dropped, w.bias2, "mlp.bias")
        dnormed = self.mlp_backward(dropped, norm, w.mlp, tape.mlp)
        dy = self._norm_backward(dnormed, norm, w.norm2, "norm2", dy)
        norm = self._lazy(tape.norm1, tape.x, w.norm1, "norm1")
        dropped = rank.masked(dy, tape.mask1, "ddropout1")
        self._bias_gradient(dropped, w.bias1, "attention.bias")
        dnormed = self._attention_backward(dropped, norm, w, tape)
        return self._norm_backward(dnormed, norm, w.norm1, "norm1", dy)

    def _attention_backward(
        self, dy: Operand, norm: LazyNorm, w: LayerWeights, tape: LayerTape
    ) -> Operand:
        down = self.down
        if down is None:
            dx: Operand = self.attention_backward(dy, norm, w.attention, tape.attention)
            return dx
        matrices = down.bring(w)  # once: for latents that are computed again, and for dX
        latents = tape.latents
        if latents is None:
            with self.rank.at(phase="recompute"):
                latents = down.forward(norm(), w, matrices)
        gradients = self.attention_backward(
            dy, lambda: latents.latents, w.attention, tape.attention
        )
        return down.backward(gradients, latents, norm, w, matrices)

    def _bias_gradient(self, dy: Operand, bias: Weights | None, label: str) -> None:
        if bias:
            self.rank.bias_gradient(dy, bias.gradient.flat, label)

    def _norm_backward(
        self, dy: Operand, norm: LazyNorm, w: Weights, label: str, residual: Operand
    ) -> Operand:
        """Add to the residual's gradient: in place, unless weight gradients still read it."""
        pair, saved = (w.value.flat, w.gradient.flat), norm.tape.saved
        out = self.rank.tensor("dx", dy.shape) if self.rank.postpones else None
        return self.rank.norm_backward(dy, saved, pair, label, add_to=residual, out=out)

    def _lazy(self, kept: NormTape | None, x: Operand, w: Weights, label: str) -> LazyNorm:
        def again() -> NormTape:
            with self.rank.at(phase="recompute"):
                return self.rank.norm(x, w.value.flat, label)

        return LazyNorm(kept, again)


def _value(w: Weights | None) -> Operand | None:
    return w.value.flat if w else None
