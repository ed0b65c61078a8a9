"""The words a strategy is written in: what one rank computes, and what it says to its peers."""

from __future__ import annotations

from collections.abc import Sequence

from tspsim.files.errors import ProgramError
from tspsim.mesh import DP, Axes, Mesh
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.axis import Axis
from tspsim.program.kinds.attention import Attention, AttentionBackward, Core, MergeAttention
from tspsim.program.kinds.matmul import Matmul
from tspsim.program.kinds.norm import Norm, NormBackward
from tspsim.program.kinds.pointwise import (
    Add,
    Bias,
    BiasGradient,
    Gated,
    GatedBackward,
    Gelu,
    GeluBackward,
    Reorder,
    Rotary,
)
from tspsim.program.kinds.vocabulary import Objective
from tspsim.program.packed import Packed, Part, Weights, elements
from tspsim.program.recorder import Recorder, Slots
from tspsim.program.replicas import Replication
from tspsim.program.tokens import Tokens
from tspsim.program.types import BindingRole, BufferKind, Operand

#: Statistics (log-sum-exp, loss) are kept in single precision whatever the activations are.
STATISTICS_ITEMSIZE = 4


class Rank(Recorder):
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
    layers : range, optional
        The layers that the role holds; all of the model's when not given.
    """

    def __init__(
        self,
        mesh: Mesh,
        model: ModelShape,
        workload: Workload,
        optimizer: Optimizer,
        replication: Replication | None = None,
        role: int = 0,
        layers: range | None = None,
    ) -> None:
        super().__init__(mesh)
        self.role, self.layers = role, range(model.layers) if layers is None else layers
        self.model, self.workload, self.optimizer = model, workload, optimizer
        self.trains = workload.phase == "train"
        self.replicas = mesh.replicas
        if self.replicas > 1 and replication is None:
            raise ProgramError(f"a rank on a mesh with an axis '{DP}' needs a Replication")
        self.replication = replication or Replication()

    @property
    def holds_last_layer(self) -> bool:
        """Whether the last layer is among the role's: there the loss is."""
        return self.model.layers - 1 in self.layers

    @property
    def tokens(self) -> int:
        """Tokens of one step over all replicas: what a mean over tokens divides by."""
        return self.workload.tokens * self.replicas

    # ---- buffers -----------------------------------------------------------------------------

    def axis(self, name: Axes, size: int | None = None) -> Axis:
        """Return an axis of the mesh to communicate along, several as one, or blocks of one.

        Of several, ``rank.axis(("dp", "tsp"))``, the last one varies fastest; blocks are of `size`
        neighbours.
        """
        return Axis(self, name, size or self.mesh.degree(name), size)

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

    def weights(self, name: str, parts: Sequence[Part]) -> Weights:
        """Declare resident weights in one pack; when training, gradient and states too.

        Where replicas share the optimizer's states, the values show what each has updated: by
        how far the weights moved, not by a gradient that is whole on no replica.
        """
        count, layout = elements(parts), tuple(parts)
        value = Packed(self.resident(name, (count,), self.optimizer.weight, "weight"), layout)
        self._bind(value, "value")
        if not self.trains:
            return Weights(value)
        flat = self.resident(f"d{name}", (count,), self.optimizer.gradient, "gradient")
        held = self.replication.states(count, self.replicas)
        for state, itemsize in self.optimizer.states:
            if itemsize:
                self.resident(f"{name}.{state}", (held,), itemsize, "optimizer")
        if self.replication.shards(self.replicas):
            self._bind(value, "moved")
        else:
            self._bind(value.over(flat), "gradient")
        return Weights(value, value.over(flat))

    def _bind(self, packed: Packed, role: BindingRole) -> None:
        layer = "" if self.layer is None else f"L{self.layer}."
        for part, operand in packed.views():
            self.bind(operand, layer + part.tensor, part.shard, role)

    # ---- matrix products ---------------------------------------------------------------------

    @property
    def _multiplied(self) -> str:
        """What matrix products multiply, where that is narrower: in layers, never in the head."""
        return "" if self.layer is None else self.workload.linears

    def matmul(
        self,
        a: Operand,
        b: Operand,
        label: str,
        *,
        add_to: Operand | None = None,
        transpose_b: bool = False,
    ) -> Operand:
        """Return ``a b`` or ``a bᵀ``, [batch, tokens, n]; added to an operand when one is given."""
        n = b.shape[0] if transpose_b else b.shape[-1]
        out = add_to or self.tensor(label, (*a.shape[:-1], n))
        kind = Matmul(
            transpose_b=transpose_b, accumulate=add_to is not None, dtype=self._multiplied
        )
        self.compute(kind, (a, b, *_given(add_to)), (out,), label)
        return out

    def weight_gradient(
        self, x: Operand, dy: Operand, into: Operand, label: str, *, add: bool = True
    ) -> None:
        """Add ``xᵀ dy`` to a weight gradient, or write it there when `add` is False."""
        inputs = (x, dy, into) if add else (x, dy)
        kind = Matmul(transpose_a=True, accumulate=add, dtype=self._multiplied)
        self.compute(kind, inputs, (into,), f"d{label}")

    def bias(self, x: Operand, b: Operand, label: str) -> None:
        """Add a bias to x in place."""
        self.compute(Bias(), (b, x), (x,), label)

    def bias_gradient(self, dy: Operand, into: Operand, label: str, *, add: bool = True) -> None:
        """Add the sum of dy over tokens to a bias gradient, or write it there."""
        self.compute(BiasGradient(), (dy, into) if add else (dy,), (into,), f"d{label}")

    # ---- element-wise ------------------------------------------------------------------------

    def norm(self, x: Operand, parameters: Operand, label: str) -> Operand:
        """Return the norm of x."""
        out = self.tensor(label, x.shape)
        self.compute(Norm(self.model.norm), (x, parameters), (out,), label)
        return out

    def norm_backward(
        self,
        dy: Operand,
        x: Operand,
        weights: tuple[Operand, Operand],
        label: str,
        *,
        add_to: Operand | None = None,
        out: Operand | None = None,
    ) -> Operand:
        """Add the parameter gradient to ``weights[1]``; return the input gradient.

        It is added to an operand, written to one, or new.
        """
        parameters, gradient = weights
        dx = add_to or out or self.tensor("dx", x.shape)
        inputs = (dy, x, parameters, gradient, *_given(add_to))
        self.compute(NormBackward(self.model.norm), inputs, (gradient, dx), f"d{label}")
        return dx

    def add(self, x: Operand, to: Operand, label: str) -> Operand:
        """Add x to an operand in place, and return that operand."""
        self.compute(Add(), (x, to), (to,), label)
        return to

    def activate(self, ups: Sequence[Operand], label: str) -> Operand:
        """Return the MLP's hidden activations: silu(gate) * up of (gate, up), or gelu of (up,)."""
        out = self.tensor("hidden", ups[0].shape)
        self.compute(Gated() if len(ups) == 2 else Gelu(), ups, (out,), label)
        return out

    def activate_backward(self, dhidden: Operand, ups: Sequence[Operand], label: str) -> None:
        """Write the gradients of (gate, up) or (up,) over them."""
        kind = GatedBackward() if len(ups) == 2 else GeluBackward()
        self.compute(kind, (dhidden, *ups), ups, label)

    def rotary(self, x: Operand, tokens: Tokens, label: str, *, inverse: bool = False) -> None:
        """Rotate x by its tokens' positions, in place."""
        self.compute(Rotary(self.model.head_dim, tokens, inverse), (x,), (x,), label)

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

    def residents(self, kind: BufferKind) -> list[Operand]:
        """Return the resident buffers of a kind, in the order in which they were declared."""
        return [o for o in self._residents if o.buffer.kind == kind]

    def gradients(self) -> list[Operand]:
        """Return the resident gradients in the order in which they were written last."""
        return sorted(self.residents("gradient"), key=lambda o: self._writer[o.buffer.index])

    # ---- attention core ----------------------------------------------------------------------

    def attention(self, core: Core, q: Operand, k: Operand, v: Operand) -> tuple[Operand, Operand]:
        """Return the attention output [batch, queries, width] and its log-sum-exp."""
        o = self.tensor("o", q.shape)
        lse = self.statistics("lse", (q.shape[0], core.heads, q.shape[1]))
        self.compute(Attention(core), (q, k, v), (o, lse), "attention")
        return o, lse

    def merge_attention(
        self, heads: int, into: tuple[Operand, Operand], more: tuple[Operand, Operand]
    ) -> None:
        """Join a partial attention (o, lse) into another, in place."""
        self.compute(MergeAttention(heads), (*into, *more), into, "merge")

    def attention_backward(
        self,
        core: Core,
        inputs: Sequence[Operand],
        *,
        dq: Operand | None = None,
        dkv: tuple[Operand, Operand] | None = None,
    ) -> tuple[Operand, Operand, Operand]:
        """Return dq, dK, dV from ``(do, q, K, V, o, lse)``; added to earlier ones when given."""
        _, q, k, v, _, _ = inputs
        kind = AttentionBackward(core, dq is not None, dkv is not None)
        outputs = (dq or self.tensor("dq", q.shape),) + (
            dkv or (self.tensor("dk", k.shape), self.tensor("dv", v.shape))
        )
        self.compute(kind, (*inputs, *_given(dq), *(dkv or ())), outputs, "attention_backward")
        return outputs


def _given(operand: Operand | None) -> tuple[Operand, ...]:
    return () if operand is None else (operand,)
