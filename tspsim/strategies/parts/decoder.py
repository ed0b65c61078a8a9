"""The skeleton of a decoder that all strategies share: layers, backward, the end of a step.

A strategy fills in how attention and MLP run on its mesh. What backward needs stays alive only
because backward reads it: nothing here frees or saves anything. In which order micro-batches pass
is the schedule's (`strategies/parts/pipeline.py`).
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from functools import partial

from tspsim.program.activations import ActivationShard
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.types import Operand
from tspsim.strategies.caches.base import KvCache
from tspsim.strategies.parts.blocks import Blocks
from tspsim.strategies.parts.copies import sum_copies
from tspsim.strategies.parts.ends import Ends, HeadTape
from tspsim.strategies.parts.groups import Group, Groups
from tspsim.strategies.parts.latent_down import Down
from tspsim.strategies.parts.layers import LayerWeights
from tspsim.strategies.parts.mixture import MakeExperts, Mixture
from tspsim.strategies.parts.pipeline import play
from tspsim.strategies.parts.replicas import begin, update
from tspsim.strategies.parts.sampling import Sampling
from tspsim.strategies.parts.stamps import Left, Stamps
from tspsim.strategies.parts.together import Together
from tspsim.strategies.parts.weights import Cut


class Decoder(Blocks):
    """Records a step of a decoder; a strategy subclasses it.

    Attributes
    ----------
    cache : KvCache or None
        Keys and values of earlier tokens, in a step of inference.

    Parameters
    ----------
    rank : Rank
    cut : Cut
        How weights are cut.
    place : ActivationShard
        Which tokens the rank holds between blocks.
    gather_axis : str or None
        The axis of `cut` over which tokens are cut too: the ends of the model gather over it.
    experts : callable, optional
        Makes the layout of experts.
    """

    cache: KvCache | None = None

    def __init__(
        self,
        rank: Rank,
        cut: Cut,
        place: ActivationShard,
        gather_axis: str | None,
        experts: MakeExperts | None = None,
    ) -> None:
        self.rank, self.cut, self.place = rank, cut, place
        layout = experts(rank, place) if experts else None
        self.mixture = Mixture(self, layout) if layout else None
        self.recompute = rank.workload.recompute
        self.down = self._down() if rank.model.latent else None
        self.stamps = Stamps(rank)
        groups = Groups(rank, rank.replication)
        #: Of all weights, and of experts where other ranks hold these alike.
        self.common = [groups]
        if rank.experts_replication != rank.replication:
            self.common.append(Groups(rank, rank.experts_replication))
        self.layers = {index: self._declare(index) for index in rank.layers}
        self.groups = {i: self._grouped(w, i) for i, w in self.layers.items()}
        ends = Sampling if rank.workload.requests else Ends
        self.ends = ends(rank, cut, place, gather_axis, groups) if rank.model.vocab else None
        #: Gradients are reduced behind every micro-batch, not once per step.
        self.syncs = groups.syncs
        self.loss = rank.resident("loss", (1,), 4, "activation")
        self.has_loss = rank.holds_last_layer and not rank.workload.requests
        if self.has_loss:
            rank.bind(self.loss, "loss", None, "loss")
        begin(rank, self._weights())

    def _grouped(self, w: LayerWeights, index: int) -> Group | Together:
        """Return the weights of a layer as they come and go: all as one, or experts apart."""
        if len(self.common) == 1 or w.experts is None:
            return Group(self.common[0], w.packs, index)
        others = tuple(pack for pack in w.packs if pack is not w.experts)
        packs = zip(self.common, (others, (w.experts,)), strict=True)
        return Together([Group(groups, some, index) for groups, some in packs])

    def _down(self) -> Down:
        """Return latent attention's ways down: whole on every rank, as norms are."""
        return Down(self.rank, self.place)

    def _declare(self, index: int) -> LayerWeights:
        rank, cut = self.rank, self.cut
        with rank.at(layer=index):
            first = self._declare_attention()
            first["norm2"] = self._declare_some("norm2", cut.block_norm(2, "before"))
            if rank.model.experts_in(index):
                assert self.mixture is not None
                second = self.mixture.declare()
            else:
                mlp, bias = rank.weights("mlp", cut.mlp()), cut.output_bias("mlp")
                second = {"mlp": mlp, "bias2": self._declare_some("mlp.bias", bias)}
            behind = self._declare_some("norm2_out", cut.block_norm(2, "behind"))
            return self._together(first | second | {"behind2": behind})

    @staticmethod
    def _together(packs: dict[str, Weights | None]) -> LayerWeights:
        attention = packs.pop("attention")
        assert attention is not None
        return LayerWeights(attention, **packs)

    def _declare_attention(self) -> dict[str, Weights | None]:
        rank, cut, down = self.rank, self.cut, self.down
        return {
            "norm1": self._declare_some("norm1", cut.block_norm(1, "before")),
            "down": rank.weights("latent", down.matrices()) if down else None,
            "latent_norms": rank.weights("latent.norms", down.norms()) if down else None,
            "attention": rank.weights("attention", cut.attention()),
            "qk_norm": self._declare_some("qk_norm", cut.qk_norm()),
            "bias1": self._declare_some("attention.bias", cut.output_bias("attention")),
            "behind1": self._declare_some("norm1_out", cut.block_norm(1, "behind")),
        }

    def _declare_some(self, name: str, parts: list[Part]) -> Weights | None:
        return self.rank.weights(name, parts) if parts else None

    def _weights(self) -> Iterator[Operand]:
        """Yield all weights, each once, in the order in which forward reads them."""
        first, behind = self.ends.in_order if self.ends else ((), ())
        layers = (w for layer in self.layers.values() for w in layer.packs)
        yield from (w.value.flat for w in (*first, *layers, *behind))

    # ---- what a strategy fills in ------------------------------------------------------------

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
        has_loss = self.has_loss and (self.ends is not None or self.rank.trains)
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
            [group.total(w) for w in some] for some in (self.ends.norms, self.ends.tables)
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
                w = self.layers[index].each(group.now)
                record = partial(self._forward, x, w)
                key = (*self._kind(index, layers), "F")
                cached = self.cache.of(index) if self.cache else ()
                x, left = self.stamps.run(key, (x, *w.flats, *cached), None, record)
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
                w = self.layers[index].each(group.adding)
                record = partial(self._backward, dy, w)
                key = (*self._kind(index, layers), "B", self.rank.postpones)
                dy, _ = self.stamps.run(key, (dy, *w.flats), left, record)
                group.add_up()
                group.finish()
                if last or self.syncs:
                    self.rank.weighs(partial(self._reduce, group, self.layers[index], last=last))
        return dy

    def _kind(self, index: int, layers: range) -> tuple[Hashable, ...]:
        """Return all in which the passes of some layers differ.

        Where blocks read the stream itself, what is gathered of it has its name: another one in
        front of the first layer. To experts tokens may be dealt in other ways in other layers.
        """
        model, routing = self.rank.model, self.rank.workload.routing
        dealt = routing.repeats(index) if model.experts_in(index) else None
        reads = model.norm_at == "behind" and index == layers[0]
        return layers, model.kind(index), reads, dealt

    def _reduce(self, group: Group | Together, held: LayerWeights, *, last: bool) -> None:
        w = held.each(group.total)
        self.reduce_shared_heads(w)
        self.reduce_gradients(w.between, w.matrices, w.head_norms)
        if w.experts and self.mixture and (last or self.common[-1].syncs):
            self.mixture.reduce(w.experts)
        group.reduce()

    def leave(self) -> None:
        """Record the end of a micro-batch's forward through a stage."""
        for groups in self.common:
            groups.forget()

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
                self.ends.group.add_up()
                self.ends.group.finish()
                if self.syncs:
                    self._reduce_ends()
