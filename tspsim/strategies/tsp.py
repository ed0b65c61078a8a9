"""TSP (arXiv 2604.26294): tensor and sequence parallelism folded onto one axis.

Every rank holds 1/D of the weights and 1/D of the tokens. Tokens stay; weights come round: by
broadcast in attention, hop by hop round a ring in the MLP. Backward is not printed in the paper;
the one below is derived, and proven by its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field

from tspsim.files.errors import Problem
from tspsim.model import ModelShape, Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.cached import Rows
from tspsim.program.packed import Packed, Weights
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.caches.base import CachedExchange
from tspsim.strategies.caches.choose import Passes, make_cut, make_gathered
from tspsim.strategies.exchanges.all_gather import AllGatherExchange
from tspsim.strategies.exchanges.base import CoreTape, Heads
from tspsim.strategies.exchanges.expanded import ExpandedExchange
from tspsim.strategies.parts.decoder import Decoder
from tspsim.strategies.parts.gradient_ring import GradientRing
from tspsim.strategies.parts.latent_down import CutDown, down_problems
from tspsim.strategies.parts.latent_heads import LatentGather, gather_choices, gather_problems
from tspsim.strategies.parts.layers import LayerWeights, Normed
from tspsim.strategies.parts.mlp import Mlp, MlpTape
from tspsim.strategies.parts.owners import OneLoop
from tspsim.strategies.parts.owners_twice import TwoLoops
from tspsim.strategies.parts.placement import Axes
from tspsim.strategies.parts.prefetch import Prefetch, hops
from tspsim.strategies.parts.projecting import projections_of
from tspsim.strategies.parts.staying import StayingDecoder
from tspsim.strategies.parts.tokens import chunk_problems, cut_sequence, sequence_problems
from tspsim.strategies.parts.weights import Cut

#: No schedule has more turns than ranks.
MOST_AHEAD = 16384


class TensorSequenceParallel(StrategyOptions):
    """Options of ``strategy: {kind: tsp}``.

    Parameters
    ----------
    degree : int
        Ranks.
    slots : int
        Places for travelling weights, one in use and the others prefetched: the depth of the
        prefetch. Two is double buffering.
    head_buckets : int
        A shard's heads are attended to in this many groups: less memory for gathered K and V,
        more all_gathers.
    lookahead : int
        How many turns of the attention loop ahead K and V are projected and gathered while
        attention runs; 0: strictly one turn after another, each gather exposed. Every turn ahead
        keeps one more weight shard (backward: two), beside `slots`, and one more gathered K/V.
    share_recompute : bool
        Under ``recompute: full``, recompute inside backward's own loops: one weight broadcast
        serves both, and the stream between attention and MLP is kept as well; of blocks with a norm
        behind them, their outputs too.
    keep_gathered_kv : bool
        Keep gathered K and V for backward instead of gathering them again.
    gather_latent : bool
        Of latent attention: gather the latents of all tokens once, and expand them on every rank,
        instead of gathering keys and values.
    replicate_kv_heads : bool
        Allow more ranks than key/value heads: neighbours hold the same one.
    passes : {"kv", "queries"}, optional
        In inference with weights that travel: as in `sp`.
    weights : {"travel", "stay"}, optional
        In inference: as in training, or every rank multiplies all new tokens by its own shard, and
        what is cached stays as well. When not given they stay in decode.
    """

    kind: Literal["tsp"] = "tsp"
    degree: int = Field(ge=1)
    slots: int = Field(default=2, ge=2, le=MOST_AHEAD)
    head_buckets: int = Field(default=1, ge=1)
    lookahead: int = Field(default=1, ge=0, le=MOST_AHEAD)
    share_recompute: bool = True
    keep_gathered_kv: bool = False
    gather_latent: bool = False
    replicate_kv_heads: bool = False
    passes: Passes | None = Field(
        None, description="inference: what travels; null: queries in decode, else kv"
    )
    weights: Literal["travel", "stay"] | None = Field(
        None, description="inference: null: weights stay where they are in decode, else travel"
    )

    @classmethod
    def choices(cls, model: ModelShape, degrees: Mapping[str, int]) -> dict[str, tuple[Any, ...]]:
        """Return what a search varies."""
        heads = max(model.kv_heads // degrees["degree"], 1)
        return {
            "head_buckets": tuple(n for n in range(1, heads + 1) if heads % n == 0),
            **super().choices(model, degrees),
            **gather_choices(model),
            "replicate_kv_heads": (degrees["degree"] > model.kv_heads,),
        }

    def axes(self) -> Axes:
        """Return one axis, ``tsp``."""
        return (("tsp", self.degree),)

    def cuts_tokens(self, workload: Workload) -> tuple[str, ...]:
        """Return the one axis, but none where weights stay: there all ranks have all new tokens."""
        return () if self._stays(workload) else ("tsp",)

    def _stays(self, workload: Workload) -> bool:
        """Return whether weights stay where they are, and new tokens come to all ranks."""
        requests = workload.requests
        if requests is None:
            return False
        return requests.decodes if self.weights is None else self.weights == "stay"

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        cut = Cut(model, "tsp", self.degree)
        yield from cut.problems("degree", self.replicate_kv_heads)
        yield from down_problems(model, "degree", self.degree)
        if self.gather_latent:
            yield from gather_problems(model, self.keep_gathered_kv)
        yield from sequence_problems(workload, "degree", self.degree)
        yield from chunk_problems(model, workload, self.degree)
        if cut.kv_heads % self.head_buckets or cut.heads % self.head_buckets:
            held = f"{cut.heads} heads and {cut.kv_heads} kv_heads of a rank"
            message = f"{self.head_buckets} does not divide the {held}"
            yield Problem(("strategy", "head_buckets"), message)

    def cut(self, model: ModelShape) -> Cut:
        """Return how weights are cut."""
        turns = self.degree * self.head_buckets
        together = model.qk_norm == "whole" and turns > 1
        return Cut(model, "tsp", self.degree, self.head_buckets, in_turns=together)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        TspDecoder(rank, self).step()

    def infer(self, rank: Rank) -> None:
        """Record a step of inference, with weights that travel, or stay where they are."""
        if not self._stays(rank.workload):
            TspDecoder(rank, self).step()
            return
        cut = self.cut(rank.model)
        exchange = make_gathered(rank, cut, "tsp")
        experts = self.make_experts
        StayingDecoder(rank, cut, exchange.rows, exchange, axis="tsp", experts=experts).step()


STRATEGY = TensorSequenceParallel


class TspDecoder(Decoder):
    """Both blocks under TSP.

    Parameters
    ----------
    rank : Rank
    options : TensorSequenceParallel
    """

    def __init__(self, rank: Rank, options: TensorSequenceParallel) -> None:
        self.options, self.axis = options, rank.axis("tsp")
        cut = options.cut(rank.model)
        if rank.workload.requests:
            cached = make_cut(rank, cut, "tsp", options.passes, "all_gather", everything=True)
            self._start(rank, cut, cached.rows, cached, None)
            return
        tokens = cut_sequence(rank.workload, "tsp", options.degree)
        self._start(rank, cut, tokens, *self._exchange(rank, tokens))

    def _start(
        self,
        rank: Rank,
        cut: Cut,
        tokens: Tokens | Rows,
        exchange: AllGatherExchange | CachedExchange,
        gather: LatentGather | None,
    ) -> None:
        options = self.options
        self.exchange, self.cache = exchange, exchange.cache
        self.projections = projections_of(rank, tokens, gather=gather, exchange=exchange)
        self.local_mlp = Mlp(rank)
        self.heads = Heads(cut.heads, cut.kv_heads)
        self.recomputes_inside = options.share_recompute
        # Back-pressure: without it prefetch runs ahead, piles up memory and slows the step.
        self.ring_slots, self.ring_gradient_slots = rank.slots(options.slots), rank.slots(2)
        super().__init__(rank, cut, ActivationShard(tokens), "tsp", options.make_experts)
        self.owners = TwoLoops(self) if cut.in_turns else OneLoop(self)

    def _exchange(
        self, rank: Rank, tokens: Tokens
    ) -> tuple[AllGatherExchange, LatentGather | None]:
        if self.options.gather_latent:
            return ExpandedExchange(rank, tokens), LatentGather(rank, tokens, self.axis)
        keep = self.options.keep_gathered_kv
        return AllGatherExchange(rank, tokens, "tsp", keep=keep), None

    def _down(self) -> CutDown:
        return CutDown(self.rank, self.place, self.axis)

    # ---- attention: weights are broadcast, owner by owner ------------------------------------

    def attention(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, Any]:
        """Loop over owners: project local tokens, gather K and V, attend, add up locally."""
        return self.owners.forward(x, w, kept)

    def keeps(self, tape: list[CoreTape]) -> Any:
        """Keep the gathered K and V of every turn when asked to."""
        kept = [self.exchange.keeps(turn) for turn in tape]
        return kept if self.options.keep_gathered_kv else None

    def attention_backward(
        self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: Any
    ) -> Any:
        """Loop over owners again: dX adds up locally, dW is reduced to its owner."""
        return self.owners.backward(dy, normed, w, tape)

    # ---- MLP: weight shards travel round the ring, partial outputs stay put ------------------

    def _hops(self, own: Packed) -> Prefetch[Packed]:
        """Return the shards that come by after the rank's own, the next ones on their way."""
        return hops(self.axis, own, self.ring_slots, self.options.slots - 1, "weights")

    def mlp(self, x: Operand, w: Weights) -> tuple[Operand, Any]:
        """At step s rank p holds the shard of rank p - s; D steps, D - 1 hops."""
        arriving, tapes = self._hops(w.value), []
        out: Operand | None = None
        for step in range(self.axis.degree):
            shard = arriving.take() if step else w.value
            tape = self.local_mlp.hidden(x, shard)
            out = self.local_mlp.down(tape, shard, add_to=out)
            tapes.append(tape)
        assert out is not None
        return out, tapes

    def mlp_backward(self, dy: Operand, normed: Normed, w: Weights, tape: Any) -> Operand:
        """Weights go round again; dW grows hop by hop and reaches its owner last."""
        x, degree = normed(), self.axis.degree
        dx: Operand | None = None
        arriving = self._hops(w.value)
        ring = GradientRing(self.rank, self.axis, w, self.ring_gradient_slots)
        for step in range(1, degree):
            shard = arriving.take()
            kept = self._mlp_tape(tape, step, x, shard)
            dx = self._mlp_step(dy, shard, kept, dx)
            self.rank.weighs(partial(ring.travel, partial(self.local_mlp.gradients, x, dy, kept)))
        kept = self._mlp_tape(tape, 0, x, w.value)
        dx = self._mlp_step(dy, w.value, kept, dx)
        self.rank.weighs(partial(ring.arrive, partial(self.local_mlp.gradients, x, dy, kept)))
        return dx

    def _mlp_tape(self, tape: Any, step: int, x: Operand, shard: Packed) -> MlpTape:
        if self.recompute != "full" or not self.recomputes_inside:
            kept: MlpTape = tape[step]
            return kept
        with self.rank.at(phase="recompute"):
            return self.local_mlp.hidden(x, shard)

    def _mlp_step(self, dy: Operand, shard: Packed, tape: MlpTape, dx: Operand | None) -> Operand:
        """Record dX first: the gradients that dW is added to arrive meanwhile."""
        self.local_mlp.hidden_backward(dy, tape, shard)
        return self.local_mlp.input_gradient(tape.ups, shard, add_to=dx)

    # ---- what is still partial ---------------------------------------------------------------

    def reduce_gradients(
        self,
        between: Sequence[Weights],
        matrices: Sequence[Weights],  # noqa: ARG002
        of_heads: Sequence[Weights] = (),
    ) -> None:
        """Sum over the axis what is whole on every rank; all others have come to their owners."""
        flats = [w.gradient.flat for w in (*between, *of_heads)]
        if flats:
            self.axis.all_reduce(*flats, lane="gradients", label="gradients.norms")

    def reduce_loss(self) -> None:
        """Sum the loss over ranks; a vocabulary cut over the same axis has summed it already."""
        if not self.ends:
            self.axis.all_reduce(self.loss, lane="gradients", label="loss")
