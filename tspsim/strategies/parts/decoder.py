"""The skeleton of a decoder that all strategies share: layers, backward, the end of a step.

A strategy fills in how attention and MLP run on its mesh. What backward needs stays alive only
because backward reads it: nothing here frees or saves anything. In which order micro-batches pass
is the schedule's (`strategies/parts/pipeline.py`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import NormTape, Rank
from tspsim.program.types import Operand
from tspsim.strategies.parts.copies import sum_copies
from tspsim.strategies.parts.ends import Ends, HeadTape
from tspsim.strategies.parts.groups import Group, Groups
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

    def _declare(self, index: int) -> LayerWeights:
        rank, cut = self.rank, self.cut
        with rank.at(layer=index):
            return LayerWeights(
                norm1=self._declare_some("norm1", cut.block_norm(1, "before")),
                attention=rank.weights("attention", cut.attention()),
                qk_norm=self._declare_some("qk_norm", cut.qk_norm()),
                bias1=self._declare_some("attention.bias", cut.output_bias("attention")),
                behind1=self._declare_some("norm1_out", cut.block_norm(1, "behind")),
                norm2=self._declare_some("norm2", cut.block_norm(2, "before")),
                mlp=rank.weights("mlp", cut.mlp()),
                bias2=self._declare_some("mlp.bias", cut.output_bias("mlp")),
                behind2=self._declare_some("norm2_out", cut.block_norm(2, "behind")),
            )

    def _declare_some(self, name: str, parts: list[Part]) -> Weights | None:
        return self.rank.weights(name, parts) if parts else None

    def _weights(self) -> Iterator[Operand]:
        """Yield all weights, each once, in the order in which forward reads them."""
        first, behind = self.ends.in_order if self.ends else ((), ())
        layers = (w for layer in self.layers.values() for w in layer.packs)
        yield from (w.value.flat for w in (*first, *layers, *behind))

    # ---- what a strategy fills in ------------------------------------------------------------

    @abstractmethod
    def attention(self, x: Operand, w: LayerWeights, kept: Any) -> tuple[Operand, Any]:
        """Return the attention block's output and its tape; `kept` is what `keeps` kept."""

    @abstractmethod
    def attention_backward(
        self, dy: Operand, normed: Normed, w: LayerWeights, tape: Any
    ) -> Operand:
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
    def reduce_gradients(
        self,
        between: Sequence[Weights],
        matrices: Sequence[Weights],
        of_heads: Sequence[Weights] = (),
    ) -> None:
        """Sum over ranks what is still partial of some weights: of a layer, or of the ends.

        Parameters
        ----------
        between : sequence of Weights
            What is read between blocks, whole on every rank.
        matrices : sequence of Weights
            What is cut as heads and MLP are.
        of_heads : sequence of Weights
            Whole on every rank, with a gradient from the heads that the rank attends with.
        """

    def reduce_shared_heads(self, w: LayerWeights) -> None:
        """Sum the gradients of key/value heads that neighbours hold alike."""
        if self.cut.axis and self.cut.replicas > 1:
            neighbours = self.rank.axis(self.cut.axis, self.cut.replicas)
            gradient = w.attention.gradient
            parts = [gradient[name] for name in ("k0", "v0", "bk0", "bv0") if name in gradient]
            parts += [each.gradient["k_norm"] for each in w.cut_norms]
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
                key = (*self._kind(index, layers), "F")
                x, left = self.stamps.run(key, (x, *w.flats), None, record)
                group.leave()
            tapes.append(left)
        return x, tapes

    def backward(self, dy: Operand, tapes: Sequence[Left], layers: range, *, last: bool) -> Operand:
        """Return the gradient of some layers' input; the `last` micro-batch sums over ranks."""
        for index, left in reversed(list(zip(layers, tapes, strict=True))):
            group = self.groups[index]
            with self.rank.at(layer=index, phase="backward"):
                group.begin()
                if index > layers[0]:
                    self.groups[index - 1].gather()  # the next in backward
                w = self.layers[index].now(group, gradient=True)
                record = partial(self._backward, dy, w)
                key = (*self._kind(index, layers), "B", self.rank.postpones)
                dy, _ = self.stamps.run(key, (dy, *w.flats), left, record)
                group.finish()
                if last or self.syncs:
                    self.rank.weighs(partial(self._reduce, group, w))
        return dy

    def _kind(self, index: int, layers: range) -> tuple[Hashable, ...]:
        """Return all in which the passes of some layers differ.

        Where blocks read the stream itself, what is gathered of it has its name: another one in
        front of the first layer.
        """
        model = self.rank.model
        return layers, model.kind(index), model.norm_at == "behind" and index == layers[0]

    def _reduce(self, group: Group, w: LayerWeights) -> None:
        self.reduce_shared_heads(w)
        self.reduce_gradients(w.between, (w.attention, *w.cut_norms, w.mlp), w.head_norms)
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
            tape, y = self._joined(tape, y, w)
        if self.recompute != "full":
            return y, tape
        if self.recomputes_inside:
            return y, replace(tape, norm1=None, norm2=None, mlp=None, **self._survivors(tape))
        return y, LayerTape(x, **self._survivors(tape))

    def _survivors(self, tape: LayerTape) -> dict[str, Any]:
        """Return what is kept of what would have to be recomputed."""
        kept = {"attention": self.keeps(tape.attention)}
        # A block's output comes last: where its norm is read first, it must have been kept.
        inside = {"behind1": tape.behind1, "behind2": tape.behind2}
        return kept | inside if self.recomputes_inside else kept

    def _blocks(self, x: Operand, w: LayerWeights, kept: Any) -> tuple[LayerTape, Operand]:
        """Record both blocks; return the tape, and the MLP's output."""
        rank = self.rank
        norm1 = self._normed(x, w.norm1, "norm1")
        out, attention = self.attention(norm1.output, w, kept)
        behind1, bias = self._behind(out, w.bias1, w.behind1, "norm1_out")
        middle = behind1.output if behind1 else out
        mask = rank.join(x, to=middle, bias=bias, label="residual1")
        norm2 = self._normed(middle, w.norm2, "norm2")
        out, mlp = self.mlp(norm2.output, w.mlp)
        tape = LayerTape(x, middle, norm1, norm2, attention, mlp, mask, behind1=behind1)
        return tape, out

    def _joined(self, tape: LayerTape, out: Operand, w: LayerWeights) -> tuple[LayerTape, Operand]:
        """Add the stream to the MLP's output; return the tape with what that leaves, and it."""
        assert tape.middle is not None
        behind, bias = self._behind(out, w.bias2, w.behind2, "norm2_out")
        y = behind.output if behind else out
        mask = self.rank.join(tape.middle, to=y, bias=bias, label="residual2")
        return replace(tape, mask2=mask, behind2=behind), y

    def _normed(self, x: Operand, w: Weights | None, label: str) -> NormTape:
        """Return a norm of a block's input; the input itself where the model has none there."""
        return self.rank.norm(x, w.value.flat, label) if w else NormTape(x, ())

    def _behind(
        self, out: Operand, bias: Weights | None, w: Weights | None, label: str
    ) -> tuple[NormTape | None, Operand | None]:
        """Return the norm of a block's output, if any, and the bias that is still to be added."""
        if w is None:
            return None, _value(bias)
        if bias:
            self.rank.bias(out, bias.value.flat, bias.value.flat.buffer.name)
        return self.rank.norm(out, w.value.flat, label), None

    def _again(self, tape: LayerTape, w: LayerWeights) -> LayerTape:
        """Run a layer's forward again."""
        with self.rank.at(phase="recompute"), self.rank.issued(1):
            fresh, out = self._blocks(tape.x, w, tape.attention)
            if self.rank.kernels.dropout or w.behind2:
                fresh, _ = self._joined(fresh, out, w)
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
        dout = self._behind_backward(dropped, tape.behind2, w.bias2, w.behind2, "mlp.bias")
        dnormed = self.mlp_backward(dout, norm, w.mlp, tape.mlp)
        dy = self._norm_backward(dnormed, norm, w.norm2, "norm2", dy)
        norm = self._lazy(tape.norm1, tape.x, w.norm1, "norm1")
        dropped = rank.masked(dy, tape.mask1, "ddropout1")
        dout = self._behind_backward(dropped, tape.behind1, w.bias1, w.behind1, "attention.bias")
        dnormed = self.attention_backward(dout, norm, w, tape.attention)
        return self._norm_backward(dnormed, norm, w.norm1, "norm1", dy)

    def _behind_backward(
        self,
        dy: Operand,
        tape: NormTape | None,
        bias: Weights | None,
        w: Weights | None,
        label: str,
    ) -> Operand:
        """Return the gradient of a block's output."""
        if w:
            assert tape is not None
            pair, name = (w.value.flat, w.gradient.flat), w.value.parts[0].name
            dy = self.rank.norm_backward(dy, tape.saved, pair, name)
        if bias:
            self.rank.bias_gradient(dy, bias.gradient.flat, label)
        return dy

    def _norm_backward(
        self, dy: Operand, norm: LazyNorm, w: Weights | None, label: str, residual: Operand
    ) -> Operand:
        """Add to the residual's gradient: in place, unless weight gradients still read it."""
        if w is None:  # there is a norm behind the block, so none of them reads it
            return self.rank.add(dy, to=residual, label=f"add.d{label}")
        pair, saved = (w.value.flat, w.gradient.flat), norm.tape.saved
        out = self.rank.tensor("dx", dy.shape) if self.rank.postpones else None
        return self.rank.norm_backward(dy, saved, pair, label, add_to=residual, out=out)

    def _lazy(self, kept: NormTape | None, x: Operand, w: Weights | None, label: str) -> LazyNorm:
        def again() -> NormTape:
            with self.rank.at(phase="recompute"):
                return self._normed(x, w, label)

        return LazyNorm(kept, again)


def _value(w: Weights | None) -> Operand | None:
    return w.value.flat if w else None
