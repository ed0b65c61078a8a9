"""Blocks whose weights are cut over one axis and whose tokens over another: TP, SP and TP+SP.

Either axis may have degree 1: tensor parallelism is the one, sequence parallelism the other.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from tspsim.mesh import names_of
from tspsim.program.activations import ActivationShard
from tspsim.program.cached import Rows
from tspsim.program.packed import Weights
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape, Exchange, Heads, Sinks
from tspsim.strategies.exchanges.expanded import ExpandedExchange
from tspsim.strategies.parts.decoder import Decoder
from tspsim.strategies.parts.latent_heads import LatentGather
from tspsim.strategies.parts.latents import through
from tspsim.strategies.parts.layers import LayerWeights, Normed
from tspsim.strategies.parts.mixture import MakeExperts
from tspsim.strategies.parts.mlp import Mlp, MlpTape
from tspsim.strategies.parts.projecting import projections_of
from tspsim.strategies.parts.projections import Bucket
from tspsim.strategies.parts.weights import Cut


class ShardedDecoder(Decoder):
    """A decoder on a T x S mesh (Megatron-LM, arXiv 1909.08053; its sequence parallel 2205.05198).

    Parameters
    ----------
    rank : Rank
    cut : Cut
        Weights, cut over `tp`.
    tokens : Tokens or Rows
        Tokens, cut over `sp`.
    exchange : Exchange
        How queries meet the keys and values of other ranks of `sp`.
    axis : str
        Cuts the weights.
    sequence_parallel : bool
        Between blocks, tokens are cut over `tp` too: all_gather and reduce_scatter in place of
        all_reduce.
    experts : callable, optional
        Makes the layout of experts.
    """

    def __init__(
        self,
        rank: Rank,
        cut: Cut,
        tokens: Tokens | Rows,
        exchange: Exchange,
        *,
        axis: str = "tp",
        sequence_parallel: bool = False,
        experts: MakeExperts | None = None,
    ) -> None:
        self.tp, self.sp = rank.axis(axis), rank.axis("sp")
        self.tokens, self.exchange, self.cache = tokens, exchange, exchange.cache
        self.scatters = sequence_parallel and self.tp.degree > 1
        self.expands = isinstance(exchange, ExpandedExchange)
        gather = LatentGather(rank, exchange.tokens, self.sp) if self.expands else None
        self.projections = projections_of(rank, tokens, self.tp, gather, exchange)
        self.local_mlp = Mlp(rank)
        self.heads = Heads(cut.heads, cut.kv_heads)
        place = (
            ActivationShard(tokens, axis, self.tp.degree)
            if self.scatters
            else ActivationShard(tokens)
        )
        super().__init__(rank, cut, place, axis if self.scatters else None, experts)

    # ---- into and out of a block -------------------------------------------------------------

    def _enter(self, x: Any, label: str) -> Any:
        if not self.scatters:
            return x
        gather = partial(self.tp.all_gather, dim=1, lane="activations", label=label)
        return through(x, gather)

    def _leave(self, y: Any, label: str) -> Any:
        lane = "activations"
        if self.scatters:
            return through(y, partial(self.tp.reduce_scatter, dim=1, lane=lane, label=label))
        return through(y, partial(self.tp.all_reduce, lane=lane, label=label))

    def _gathering(self, normed: Callable[[], Any], label: str) -> Callable[[], Any]:
        """Let a block's input come again while its gradient is computed; return what gives it.

        Megatron-LM gathers it so for the weight gradients, in its linear layers' backward (arXiv
        2205.05198, section 4.2.2). What is not cut is there already.
        """
        if not self.scatters:
            return normed
        if self.rank.postpones:
            return lambda: self._enter(normed(), label)
        x = self._enter(normed(), label)
        return lambda: x

    # ---- attention ---------------------------------------------------------------------------

    def attention(self, x: Any, w: LayerWeights, kept: Any) -> tuple[Operand, Any]:
        """Project, attend, project back, sum over tp."""
        x = self.projections.spread(self._enter(x, "attention.in"))
        bucket = Bucket(w.attention.value, w.qk_norm)
        if kept:
            self.projections.saves(x, bucket)
        kv = None if kept else self.projections.keys_values(x, bucket)
        queries = partial(self.projections.queries, x, bucket)
        heads = self._heads(w.attention, backward=False)
        tape = bucket.of(self.exchange.forward(heads, queries, kv, kept))
        o = self.projections.output(tape.output, bucket)
        y = self.rank.matmul(o, w.attention.value["o0"], "o")
        if self.recompute == "selective":
            tape = tape.without_core(self.rank.kernels.recomputed)
        return self._leave(y, "attention.out"), tape

    def _heads(self, w: Weights, *, backward: bool) -> Heads:
        """Return the heads of a layer, with its sinks if there are any."""
        if "sinks0" not in w.value:
            return self.heads
        into = w.gradient["sinks0"] if backward else None
        return replace(self.heads, sinks=Sinks(w.value["sinks0"], into))

    def keeps(self, tape: CoreTape) -> Any:
        """Keep the gathered K and V when the exchange does."""
        return self.exchange.keeps(tape)

    def attention_backward(
        self, dy: Operand, normed: Callable[[], Any], w: LayerWeights, tape: CoreTape
    ) -> Any:
        """Mirror `attention`: the input gradient is summed over tp while dW is computed."""
        dy, into = self._enter(dy, "attention.dout"), w.attention
        whole = self._expanded(normed) if self.expands else None
        expand = partial(self.projections.keys_values, whole, Bucket(into.value, w.qk_norm))
        tape, heads = self.exchange.gather(tape, expand), self._heads(into, backward=True)
        if tape.o is None:
            tape = self.exchange.restore(heads, tape)
        self.rank.weight_gradient(tape.output, dy, into.gradient["o0"], "o")
        do = self.rank.matmul(dy, into.value["o0"], "do", transpose_b=True)
        tape = self.exchange.restore(heads, tape)  # autograd runs it again when it gets there
        gradients = self.exchange.backward(heads, do, tape)
        gradients = self.projections.before_positions(gradients, tape, w.qk_norm)
        x = self._weighed(normed, whole)
        dx = self.projections.input_gradient(gradients, into.value, 0)
        dx = self._leave(self.projections.collect(dx), "attention.din")
        weigh = self.projections.weight_gradients
        self.rank.weighs(lambda: weigh(x(), gradients, into.gradient, 0))
        return dx

    def _expanded(self, normed: Callable[[], Any]) -> Any:
        """Return the latents that backward expands again."""
        return self.projections.spread(self._enter(normed(), "attention.in"))

    def _weighed(self, normed: Callable[[], Any], whole: Any) -> Callable[[], Any]:
        """Return what gives the input of weight gradients: what is there, or it comes again."""
        if self.expands:
            return lambda: whole
        return self._gathering(lambda: self.projections.weighed(normed()), "attention.in")

    # ---- MLP ---------------------------------------------------------------------------------

    def mlp(self, x: Operand, w: Weights) -> tuple[Operand, Any]:
        """Run the local columns, and sum over tp."""
        tape = self.local_mlp.hidden(self._enter(x, "mlp.in"), w.value)
        return self._leave(self.local_mlp.down(tape, w.value), "mlp.out"), tape

    def mlp_backward(self, dy: Operand, normed: Normed, w: Weights, tape: MlpTape) -> Operand:
        """Mirror `mlp`."""
        dy = self._enter(dy, "mlp.dout")
        self.local_mlp.down_backward(dy, tape, w.value, w.gradient)
        x = self._gathering(normed, "mlp.in")
        dx: Operand = self._leave(self.local_mlp.input_gradient(tape.ups, w.value), "mlp.din")
        self.rank.weighs(lambda: self.local_mlp.weight_gradients(x(), tape.ups, w.gradient))
        return dx

    # ---- gradients that are still partial ----------------------------------------------------

    def reduce_gradients(
        self,
        between: Sequence[Weights],
        matrices: Sequence[Weights],
        of_heads: Sequence[Weights] = (),
    ) -> None:
        """Sum replicated weights over sp, what is between blocks over the token axes too.

        What has a gradient from some heads is summed over tp, which cuts them.
        """
        partial = [w.gradient.flat for w in (*of_heads, *(between if self.scatters else ()))]
        if partial:
            self.tp.all_reduce(*partial, lane="gradients", label="gradients.norms")
        every = [w.gradient.flat for w in (*between, *of_heads, *matrices)]
        # The group that shares the gradients of replicated weights sums them over sp as well.
        if every and self.sp.name not in names_of(self.rank.replication.inside):
            self.sp.all_reduce(*every, lane="gradients", label="gradients")

    def reduce_loss(self) -> None:
        """Sum the loss over the token axes."""
        if self.scatters and not self.ends:
            self.tp.all_reduce(self.loss, lane="gradients", label="loss")
        self.sp.all_reduce(self.loss, lane="gradients", label="loss")
