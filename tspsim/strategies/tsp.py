"""TSP (arXiv 2604.26294): tensor and sequence parallelism folded onto one axis.

Every rank holds 1/D of the weights and 1/D of the tokens. Tokens stay; weights come round: by
broadcast in attention, hop by hop round a ring in the MLP. Backward is not printed in the paper;
the one below is derived, and proven by its values.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
from tspsim.strategies.parts.placement import Axes
from tspsim.strategies.parts.prefetch import Prefetch, hops, staggered
from tspsim.strategies.parts.projecting import projections_of
from tspsim.strategies.parts.projections import Bucket
from tspsim.strategies.parts.staying import StayingDecoder
from tspsim.strategies.parts.tokens import chunk_problems, cut_sequence, sequence_problems
from tspsim.strategies.parts.weights import Cut

#: Why a norm over all heads of a token does not go with weights that come one after another.
_WHOLE = (
    "found 'whole'; the mean square of a whole query needs every owner's weights before the first "
    "heads can attend, and TSP has them come one after another: they would have to come twice. Use "
    "strategy.kind tp, sp or tp_sp, or degree 1"
)
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

    def cuts_tokens(self) -> tuple[str, ...]:
        """Return the one axis."""
        return ("tsp",)

    def problems(self, model: ModelShape, workload: Workload) -> Iterator[Problem]:
        """Yield what does not divide."""
        cut = Cut(model, "tsp", self.degree)
        yield from cut.problems("degree", self.replicate_kv_heads)
        yield from down_problems(model, "degree", self.degree)
        if self.gather_latent:
            yield from gather_problems(model, self.keep_gathered_kv)
        yield from sequence_problems(workload, "degree", self.degree)
        yield from chunk_problems(model, workload, self.degree)
        if model.qk_norm == "whole" and self.degree > 1:
            yield Problem(("model", "qk_norm"), _WHOLE)
        if cut.kv_heads % self.head_buckets or cut.heads % self.head_buckets:
            held = f"{cut.heads} heads and {cut.kv_heads} kv_heads of a rank"
            message = f"{self.head_buckets} does not divide the {held}"
            yield Problem(("strategy", "head_buckets"), message)

    def step(self, rank: Rank) -> None:
        """Record what one rank does."""
        TspDecoder(rank, self).step()

    def infer(self, rank: Rank) -> None:
        """Record a step of inference, with weights that travel, or stay where they are."""
        requests = rank.workload.requests
        assert requests is not None
        weights = self.weights or ("stay" if requests.decodes else "travel")
        if weights == "travel":
            TspDecoder(rank, self).step()
            return
        cut = Cut(rank.model, "tsp", self.degree)
        exchange = make_gathered(rank, cut, "tsp")
        experts = self.make_experts
        StayingDecoder(rank, cut, exchange.rows, exchange, axis="tsp", experts=experts).step()


STRATEGY = TensorSequenceParallel


@dataclass(frozen=True, slots=True)
class Turn:
    """One turn of the attention loop: owner r's weights, one bucket of its heads.

    Parameters
    ----------
    index, owner, bucket : int
        Position in the loop, and what it stands for.
    w : Packed or None
        The weights, once they are there.
    tape : CoreTape or None
    gradients : tuple of Operand
        dq, dk, dv of the local tokens; or those of what the projections gave.
    """

    index: int
    owner: int
    bucket: int
    w: Packed | None = None
    tape: CoreTape | None = None
    gradients: tuple[Operand, Operand, Operand] | None = None


class TspDecoder(Decoder):
    """Both blocks under TSP.

    Parameters
    ----------
    rank : Rank
    options : TensorSequenceParallel
    """

    def __init__(self, rank: Rank, options: TensorSequenceParallel) -> None:
        self.options, self.axis = options, rank.axis("tsp")
        cut = Cut(rank.model, "tsp", options.degree, options.head_buckets)
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
        slots, ahead = options.slots, options.lookahead
        self.attention_slots = {"forward": rank.slots(slots + ahead)}
        self.attention_slots["recompute"] = self.attention_slots["forward"]
        self.attention_slots["backward"] = rank.slots(slots + 2 * ahead)
        self.ring_slots = rank.slots(slots)
        self.gradient_slots, self.ring_gradient_slots = rank.slots(2 + ahead), rank.slots(2)
        super().__init__(rank, cut, ActivationShard(tokens), "tsp", options.make_experts)

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

    def _turns(self) -> list[Turn]:
        order = [(r, b) for r in range(self.axis.degree) for b in range(self.cut.buckets)]
        return [Turn(i, r, b) for i, (r, b) in enumerate(order)]

    def _broadcasts(self, w: Weights) -> Prefetch[Packed]:
        """Return the owners' weights, one after another; the next ones are on their way."""
        slots = self.attention_slots[self.rank.phase]

        def issue(owner: int) -> Packed:
            flat = self.axis.broadcast(
                w.value.flat, owner, lane="weights", label="weights", into=slots
            )
            return w.value.over(flat)

        return Prefetch(issue, self.axis.degree, self.options.slots - 1)

    def _fetch(self, turn: Turn, broadcasts: Prefetch[Packed], current: list[Packed]) -> Packed:
        """Return the weights of a turn: all buckets of an owner use what came for the first."""
        if turn.bucket == 0:
            current[:] = [broadcasts.take()]
        return current[0]

    def attention(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, Any]:
        """Loop over owners: project local tokens, gather K and V, attend, add up locally."""
        broadcasts, current = self._broadcasts(w.attention), list[Packed]()
        x = self.projections.spread(x)
        tapes: list[CoreTape] = []
        out: list[Operand | None] = [None]

        def project(turn: Turn) -> Turn:
            weights = self._fetch(turn, broadcasts, current)
            bucket = Bucket(weights, w.qk_norm, turn.bucket)
            have = kept[turn.index] if kept else None
            return replace(turn, w=weights, tape=self._project(x, bucket, have))

        def attend(turn: Turn) -> Turn:
            assert turn.tape is not None and turn.w is not None
            tape = self.exchange.attend(self.heads, turn.tape)
            weight = turn.w[f"o{turn.bucket}"]
            o = self.projections.output(tape.output, Bucket(turn.w, w.qk_norm, turn.bucket))
            out[0] = self.rank.matmul(o, weight, "o", add_to=out[0])
            tapes.append(self._kept(tape))
            return turn

        staggered(self._turns(), (project, attend), self.options.lookahead)
        assert out[0] is not None
        return out[0], tapes

    def _project(self, x: Any, bucket: Bucket, kept: tuple[Operand, Operand] | None) -> CoreTape:
        """Project local tokens; K and V begin to travel as soon as they are written."""
        if kept:
            self.projections.saves(x, bucket)
        kv = None if kept else self.projections.keys_values(x, bucket)
        queries = partial(self.projections.queries, x, bucket)
        return bucket.of(self.exchange.project(queries, kv, kept))

    def _kept(self, tape: CoreTape) -> CoreTape:
        """Return what backward will read: the rest dies with its last reader in forward."""
        tape = self.exchange.forget(tape)
        return (
            tape.without_core(self.rank.kernels.recomputed)
            if self.recompute == "selective"
            else tape
        )

    def keeps(self, tape: list[CoreTape]) -> Any:
        """Keep the gathered K and V of every turn when asked to."""
        kept = [self.exchange.keeps(turn) for turn in tape]
        return kept if self.options.keep_gathered_kv else None

    def attention_backward(
        self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: Any
    ) -> Any:
        """Loop over owners again: dX adds up locally, dW is reduced to its owner."""
        broadcasts, current = self._broadcasts(w.attention), list[Packed]()
        packs: dict[int, Packed] = {}
        dx: list[Any] = [None]
        inside = self.recompute == "full" and self.recomputes_inside
        x = self.projections.spread(normed())

        def prepare(turn: Turn) -> Turn:
            weights = self._fetch(turn, broadcasts, current)
            bucket = Bucket(weights, w.qk_norm, turn.bucket)
            if not inside:
                expand = partial(self.projections.keys_values, x, bucket)
                there = self.exchange.gather(tape[turn.index], expand)
                return replace(turn, w=weights, tape=there)
            kept = tape[turn.index] if tape else None
            with self.rank.at(phase="recompute"):
                again = self._project(x, bucket, kept)
            return replace(turn, w=weights, tape=again)

        def core(turn: Turn) -> Turn:
            assert turn.tape is not None and turn.w is not None
            restored = self.exchange.restore(self.heads, turn.tape)
            own = w.attention
            self.rank.weighs(partial(self._output_gradient, turn, restored, dy, own, packs))
            do = self.rank.matmul(dy, turn.w[f"o{turn.bucket}"], "do", transpose_b=True)
            return replace(turn, gradients=self.exchange.backward(self.heads, do, restored))

        def finish(turn: Turn) -> Turn:
            assert turn.gradients is not None and turn.w is not None and turn.tape is not None
            local = self.projections.before_positions(turn.gradients, turn.tape, w.qk_norm)
            dx[0] = self.projections.input_gradient(local, turn.w, turn.bucket, dx[0])
            turn = replace(turn, gradients=local)
            self.rank.weighs(partial(self._turn_gradients, turn, x, w.attention, packs))
            return turn

        staggered(self._turns(), (prepare, core, finish), self.options.lookahead)
        return self.projections.collect(dx[0])

    def _output_gradient(
        self, turn: Turn, tape: CoreTape, dy: Operand, w: Weights, packs: dict[int, Packed]
    ) -> None:
        into = self._gradient_pack(turn, w, packs)[f"o{turn.bucket}"]
        self.rank.weight_gradient(tape.output, dy, into, "o", add=self.axis.degree == 1)

    def _turn_gradients(self, turn: Turn, x: Any, w: Weights, packs: dict[int, Packed]) -> None:
        """Record dW of the projections; what is complete is reduced to its owner."""
        assert turn.gradients is not None
        into, add = packs[turn.owner], self.axis.degree == 1
        self.projections.weight_gradients(x, turn.gradients, into, turn.bucket, add=add)
        if turn.bucket + 1 == self.cut.buckets and not add:
            target = w.gradient.flat
            self.axis.reduce(
                into.flat, turn.owner, add_to=target, lane="gradients", label="dweights"
            )

    def _gradient_pack(self, turn: Turn, w: Weights, packs: dict[int, Packed]) -> Packed:
        """Return where this turn's weight gradients are written, in the activations' type."""
        if self.axis.degree == 1:
            packs[turn.owner] = w.gradient
        elif turn.bucket == 0:
            shape, slots = w.value.flat.shape, self.gradient_slots
            flat = self.rank.tensor("dweights", shape, "workspace", into=slots)
            packs[turn.owner] = w.value.over(flat)
        return packs[turn.owner]

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
