"""The words a strategy is written in: what one rank computes, and what it says to its peers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

from tspsim.mesh import DP, SHARD, Axes, Mesh
from tspsim.model import ITEMSIZE, ModelShape, Optimizer, Workload
from tspsim.program.activations import ActivationShard
from tspsim.program.axis import Axis
from tspsim.program.cached import Rows
from tspsim.program.holding import Holding
from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.attention import Attention, AttentionBackward, Core, MergeAttention
from tspsim.program.kinds.dropout import MASK_ITEMSIZE, Dropout, DropoutAdd, DropoutBackward
from tspsim.program.kinds.issue import Issue
from tspsim.program.kinds.matmul import Matmul
from tspsim.program.kinds.norm import Norm, NormBackward, SeparateNorm, SeparateNormBackward
from tspsim.program.kinds.passes import Passes, rotary_passes
from tspsim.program.kinds.pointwise import Add, Bias, BiasGradient, Reorder, Rotary
from tspsim.program.kinds.sinks import SinksGradient
from tspsim.program.kinds.vocabulary import Objective
from tspsim.program.ledger import Slots
from tspsim.program.replicas import Replication
from tspsim.program.stages import Stages, whole
from tspsim.program.tokens import Tokens
from tspsim.program.types import BufferKind, Operand
from tspsim.program.unfused import KeptScores, UnfusedAttention, mergeable

#: Statistics (log-sum-exp, loss) are kept in single precision whatever the activations are.
STATISTICS_ITEMSIZE = 4


@dataclass(frozen=True, slots=True)
class NormTape:
    """A norm's output, and what its backward reads.

    Parameters
    ----------
    output : Operand
    saved : tuple of Operand
        Its input; or, of a norm in single ops, its input in fp32 and what that was scaled to.
    """

    output: Operand
    saved: tuple[Operand, ...]


class Rank(Holding):
    """One rank, as a strategy sees it.

    Parameters
    ----------
    mesh : Mesh
    model : ModelShape
    workload : Workload
    optimizer : Optimizer
    replication : Replication, optional
        How replicas keep their weights equal; must be said where there are any.
    role : int
        Which of the strategy's programs is recorded: ``StrategyOptions.role``.
    stages : Stages, optional
        The layers that the role holds, and the order of what it does with them; all of the
        model's, one micro-batch after another, when not given.
    experts : Replication, optional
        How those that hold the same experts keep these equal; as all weights when not given.
    """

    def __init__(
        self,
        mesh: Mesh,
        model: ModelShape,
        workload: Workload,
        optimizer: Optimizer,
        replication: Replication | None = None,
        role: int = 0,
        stages: Stages | None = None,
        experts: Replication | None = None,
    ) -> None:
        super().__init__(mesh, optimizer, trains=workload.phase == "train")
        self.shares(replication, experts)
        self.role, self.stages = role, stages or whole(model.layers, workload.micro_batches)
        self.model, self.workload = model, workload
        self.kernels = workload.kernels

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that the role holds, in the order in which forward reads them."""
        return self.stages.held

    @property
    def holds_first_layer(self) -> bool:
        """Whether the first layer is among the role's: there the embedding is."""
        return 0 in self.stages.parts

    @property
    def holds_last_layer(self) -> bool:
        """Whether the last layer is among the role's: there the loss is."""
        return self.stages.order.depth - 1 in self.stages.parts

    @property
    def tokens(self) -> int:
        """Tokens of one step over all replicas: what a mean over tokens divides by."""
        return self.workload.tokens * self.replicas

    @contextmanager
    def issued(self, forwards: int) -> Iterator[None]:
        """Mark a pass through a layer, which takes the host as long as so many of its forwards.

        The host begins with it when it has issued the pass before; the device begins with what
        follows when the host is through.
        """
        if not self.kernels.host:
            yield
            return
        issue = self.issue(Issue(forwards * self.kernels.host))
        yield
        self.follows(issue)

    # ---- buffers -----------------------------------------------------------------------------

    def axis(self, name: Axes, size: int | None = None) -> Axis:
        """Return an axis of the mesh to communicate along, several as one, or blocks of one.

        Of several, ``rank.axis(("dp", "tsp"))``, the last one varies fastest; blocks are of `size`
        neighbours.
        """
        return Axis(self, name, size or self.mesh.degree(name), size)

    @property
    def replica_axis(self) -> Axis:
        """All replicas, whether or not neighbours of them share something."""
        return self.axis(self.mesh.there((DP, SHARD)))

    def slots(self, count: int) -> Slots:
        """Return a pool of `count` places for travelling buffers."""
        return Slots(count)

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        kind: BufferKind | None = None,
        into: Slots | None = None,
    ) -> Operand:
        """Declare an activation of the workload's dtype; something must write it next."""
        return self.buffer(name, shape, self.workload.itemsize, kind, into)

    def statistics(self, name: str, shape: tuple[int, ...]) -> Operand:
        """Declare a single-precision activation."""
        return self.buffer(name, shape, STATISTICS_ITEMSIZE)

    # ---- matrix products ---------------------------------------------------------------------

    def kept_in(self, name: str) -> int:
        """Return the bytes of an element of some weights: narrower ones where that is stated."""
        form = self.workload.weights.of(name)
        return ITEMSIZE[form] if form else super().kept_in(name)

    def multiplied(self, weight: Operand | None = None) -> str:
        """Return what matrix products multiply, where that is narrower than activations.

        In layers, never in the head; a weight that is kept in fp8 as it is.
        """
        forms = self.workload.weights
        if weight is not None and "fp8" in (forms.attention, forms.mlp):
            return "fp8" if weight.buffer.itemsize == ITEMSIZE["fp8"] else ""
        return "" if self.layer is None else self.workload.linears

    def matmul(
        self,
        a: Operand,
        b: Operand,
        label: str,
        *,
        add_to: Operand | None = None,
        transpose_b: bool = False,
        out: Operand | None = None,
    ) -> Operand:
        """Return ``a b`` or ``a bᵀ``, [batch, tokens, n]; added or written to one if given."""
        n = b.shape[0] if transpose_b else b.shape[-1]
        out = out or add_to or self.tensor(label, (*a.shape[:-1], n))
        kind = Matmul(
            transpose_b=transpose_b, accumulate=add_to is not None, dtype=self.multiplied(b)
        )
        self.compute(kind, (a, b, *_given(add_to)), (out,), label)
        return out

    def weight_gradient(
        self, x: Operand, dy: Operand, into: Operand, label: str, *, add: bool = True
    ) -> None:
        """Add ``xᵀ dy`` to a weight gradient, or write it there when `add` is False."""
        if self.postpones:
            self.weighs(partial(self.weight_gradient, x, dy, into, label, add=add))
            return
        if add and self.kernels.accumulation == "separate":
            fresh = self.tensor(f"d{label}", into.shape, "workspace")
            self.compute(Matmul(transpose_a=True), (x, dy), (fresh,), f"d{label}")
            self.add(fresh, to=into, label=f"add.d{label}")
            return
        inputs = (x, dy, into) if add else (x, dy)
        kind = Matmul(transpose_a=True, accumulate=add, dtype=self.multiplied())
        self.compute(kind, inputs, (into,), f"d{label}")

    def bias(self, x: Operand, b: Operand, label: str) -> None:
        """Add a bias to x in place."""
        self.compute(Bias(), (b, x), (x,), label)

    def bias_gradient(self, dy: Operand, into: Operand, label: str, *, add: bool = True) -> None:
        """Add the sum of dy over tokens to a bias gradient, or write it there."""
        if self.postpones:
            self.weighs(partial(self.bias_gradient, dy, into, label, add=add))
            return
        self.compute(BiasGradient(), (dy, into) if add else (dy,), (into,), f"d{label}")

    # ---- element-wise ------------------------------------------------------------------------

    def norm(self, x: Operand, parameters: Operand, label: str) -> NormTape:
        """Return the norm of x, and what its backward reads."""
        out = self.tensor(label, x.shape)
        if not self._norms_apart:
            self.compute(Norm(self.model.norm), (x, parameters), (out,), label)
            return NormTape(out, (x,))
        saved = self.statistics(f"{label}.fp32", x.shape), self.tensor(f"{label}.scaled", x.shape)
        self.compute(SeparateNorm(), (x, parameters), (out, *saved), label)
        return NormTape(out, saved)

    @property
    def _norms_apart(self) -> bool:
        return self.model.norm == "rmsnorm" and self.kernels.norm == "separate"

    def norm_backward(
        self,
        dy: Operand,
        saved: tuple[Operand, ...],
        weights: tuple[Operand, Operand],
        label: str,
        *,
        add_to: Operand | None = None,
        out: Operand | None = None,
    ) -> Operand:
        """Add the parameter gradient to ``weights[1]``; return the input gradient.

        It is new, or written to `out`; with `add_to` given it is added to that, in place where
        there is no `out`.
        """
        if add_to and self.kernels.residual == "separate":
            dx = self.norm_backward(dy, saved, weights, label, out=out)
            x, to = (add_to, dx) if out else (dx, add_to)
            return self.add(x, to=to, label=f"add.d{label}")
        parameters, gradient = weights
        dx = out or add_to or self.tensor("dx", dy.shape)
        inputs = (dy, *saved, parameters, gradient, *_given(add_to))
        kind = SeparateNormBackward() if self._norms_apart else NormBackward(self.model.norm)
        self.compute(kind, inputs, (gradient, dx), f"d{label}")
        return dx

    def add(self, x: Operand, to: Operand, label: str) -> Operand:
        """Add x to an operand in place, and return that operand."""
        self.compute(Add(), (x, to), (to,), label)
        return to

    def join(self, x: Operand, to: Operand, bias: Operand | None, label: str) -> Operand | None:
        """Add a bias and the residual stream to a block's output in place, in one kernel.

        Return the mask of the dropout in between.
        """
        inputs = (x, to, *_given(bias))
        if not self.kernels.dropout:
            self.compute(Add(), inputs, (to,), label)
            return None
        mask = self.buffer("dropout.mask", to.shape, MASK_ITEMSIZE)
        self.compute(DropoutAdd(), inputs, (to, mask), label)
        return mask

    def drop(self, x: Operand, label: str) -> Operand | None:
        """Drop elements of x in place where the kernels do so; return the mask."""
        if not self.kernels.dropout:
            return None
        mask = self.buffer("dropout.mask", x.shape, MASK_ITEMSIZE)
        self.compute(Dropout(), (x,), (x, mask), label)
        return mask

    def masked(self, dy: Operand, mask: Operand | None, label: str) -> Operand:
        """Return a gradient behind a dropout: dy itself where there was none."""
        if mask is None:
            return dy
        out = self.tensor("dropped", dy.shape)
        self.compute(DropoutBackward(), (dy, mask), (out,), label)
        return out

    def rotary(
        self,
        x: Operand,
        tokens: Tokens | Rows | ActivationShard,
        label: str,
        *,
        inverse: bool = False,
        part: tuple[int, range | None] | None = None,
    ) -> None:
        """Rotate x by its tokens' positions, in place.

        Of every head as much is turned as the model says; with ``part=(width, span)`` that span of
        heads of that width, or all.
        """
        own = self.model.rotary
        width, span = part or (self.model.head_dim, range(own) if own else None)
        fused = Rotary(width, tokens, inverse, span)
        kind: ComputeKind = fused
        if self.kernels.rotary == "separate":
            kind = Passes(fused, *rotary_passes(fused.share))
        self.compute(kind, (x,), (x,), label)

    def reorder(self, xs: Sequence[Operand], tokens: Tokens, *, to: str) -> tuple[Operand, ...]:
        """Return gathered tokens in logical order, or logical ones in gathered order.

        Contiguous blocks are in order already: then nothing is done.
        """
        if tokens.layout == "contiguous":
            return tuple(xs)
        outs = tuple(self.tensor(x.buffer.name, x.shape, "workspace") for x in xs)
        kind = Reorder(tokens, "logical" if to == "logical" else "gathered")
        self.compute(kind, xs, outs, f"reorder.{to}")
        return outs

    def objective(self, y: Operand, loss: Operand) -> None:
        """Turn the output into its own gradient, in place, and add to the loss."""
        self.compute(Objective(), (y, loss), (y, loss), "objective")

    # ---- attention core ----------------------------------------------------------------------

    def attention(
        self, core: Core, q: Operand, k: Operand, v: Operand, sinks: Operand | None = None
    ) -> tuple[Operand, Operand | KeptScores]:
        """Return the attention output [batch, queries, width] and its log-sum-exp, or scores."""
        inputs = (q, k, v, *_given(sinks))
        if self.kernels.attention == "unfused":
            return self._unfused(core, q, v).forward(*inputs)
        o = self.tensor("o", (*q.shape[:-1], core.heads * (v.shape[-1] // core.kv_heads)))
        lse = self.statistics("lse", (q.shape[0], core.heads, q.shape[1]))
        kind = Attention(core, self.kernels.attention)
        self.compute(kind, inputs, (o, lse), "attention")
        return o, lse

    def _unfused(self, core: Core, q: Operand, v: Operand) -> UnfusedAttention:
        widths = q.shape[-1] // core.heads, v.shape[-1] // core.kv_heads
        return UnfusedAttention(self, core, self.workload.itemsize, widths, self.kernels)

    def merge_attention(
        self,
        heads: int,
        into: tuple[Operand, Operand | KeptScores],
        more: tuple[Operand, Operand | KeptScores],
    ) -> None:
        """Join a partial attention (o, lse) into another, in place."""
        result = (into[0], mergeable(into[1]))
        self.compute(MergeAttention(heads), (*result, more[0], mergeable(more[1])), result, "merge")

    def attention_backward(
        self, core: Core, inputs: Sequence[Operand], kept: Operand | KeptScores
    ) -> tuple[Operand, Operand, Operand]:
        """Return dq, dK, dV from ``(do, q, K, V, o)`` and what the forward kept beside o."""
        do, q, k, v, _ = inputs
        if isinstance(kept, KeptScores):
            return self._unfused(core, q, v).backward((do, q, k, v), kept)
        shapes = (("dq", q.shape), ("dk", k.shape), ("dv", v.shape))
        dq, dk, dv = (self.tensor(name, shape) for name, shape in shapes)
        kind = AttentionBackward(core, self.kernels.attention)
        self.compute(kind, (*inputs, kept), (dq, dk, dv), "attention_backward")
        return dq, dk, dv

    def sinks_gradient(
        self,
        core: Core,
        pair: tuple[Operand, Operand],
        kept: Operand | KeptScores,
        sinks: Operand,
        into: Operand,
        *,
        add: bool = True,
    ) -> None:
        """Add the gradient of sinks to an operand, or write it there, from ``(do, o)``."""
        fused = not isinstance(kept, KeptScores)
        read = kept.probabilities if isinstance(kept, KeptScores) else kept
        inputs = (*pair, read, sinks, *_given(into if add else None))
        self.compute(SinksGradient(core, fused), inputs, (into,), "dsinks")


def _given(operand: Operand | None) -> tuple[Operand, ...]:
    return () if operand is None else (operand,)
