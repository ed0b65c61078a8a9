"""What all layouts of experts share: the router, the rows that it makes, and products by expert."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeAlias

from tspsim.experts import Experts
from tspsim.program.activations import ActivationShard
from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.grouped import GroupedMatmul
from tspsim.program.kinds.grouped_bias import ByExpert, GroupedBias, GroupedBiasGradient
from tspsim.program.kinds.routing import (
    Combine,
    CombineBackward,
    Gate,
    GateBackward,
    Permute,
    PermuteBackward,
)
from tspsim.program.packed import Part, Weights
from tspsim.program.rank import Rank
from tspsim.program.rows import Copies, Groups
from tspsim.program.types import Operand
from tspsim.program.varying import product
from tspsim.routing import Dealing
from tspsim.strategies.parts.layers import Normed
from tspsim.strategies.parts.mlp import Mlp
from tspsim.strategies.parts.weights import expert_parts

#: What of the router's weights its bias is called.
_BIAS = "router_bias"
#: Records what is computed beside the experts while their rows travel: the shared experts.
Beside: TypeAlias = Callable[[], None]


@dataclass(frozen=True, slots=True)
class GateTape:
    """What the router leaves: its products, and the weights of every token's experts."""

    logits: Operand
    weights: Operand


class Products:
    """Matrix products by expert, recorded as a `Rank` records those of a dense MLP.

    Parameters
    ----------
    rank : Rank
    groups : Groups
        The rows of every expert.
    block : int
        Of experts cut by columns, which the weights at hand are: so cut are biases of outputs.
    """

    def __init__(self, rank: Rank, groups: Groups, block: int = 0) -> None:
        self.rank, self.kind = rank, GroupedMatmul(groups, dtype=rank.workload.linears)
        self.block = block

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
        """Return ``a b`` or ``a bᵀ``, [rows, n]; added to an operand, or written to one."""
        n = b.shape[1] if transpose_b else b.shape[2]
        out = out or add_to or self.rank.tensor(label, (a.shape[0], n))
        dtype = self.rank.multiplied(b)
        kind = replace(
            self.kind, transpose_b=transpose_b, accumulate=add_to is not None, dtype=dtype
        )
        self.rank.compute(kind, (a, b, *([add_to] if add_to else [])), (out,), label)
        return out

    def weight_gradient(
        self, x: Operand, dy: Operand, into: Operand, label: str, *, add: bool = True
    ) -> None:
        """Add ``xᵀ dy`` of every expert to weight gradients, or write it there."""
        if self.rank.postpones:
            again = partial(self.weight_gradient, x, dy, into, label, add=add)
            self.rank.weighs(again)
            return
        if add and self.rank.kernels.accumulation == "separate":
            fresh = self.rank.tensor(f"d{label}", into.shape, "workspace")
            self.weight_gradient(x, dy, fresh, label, add=False)
            self.rank.add(fresh, to=into, label=f"add.d{label}")
            return
        kind = replace(self.kind, transpose_a=True, accumulate=add)
        self.rank.compute(kind, (x, dy, into) if add else (x, dy), (into,), f"d{label}")

    def bias(self, x: Operand, b: Operand, label: str) -> None:
        """Add every expert's bias to its rows, in place."""
        columns = self._columns(x, b)
        self.rank.compute(GroupedBias(self.kind.groups, *columns), (b, x), (x,), label)

    def bias_gradient(self, dy: Operand, into: Operand, label: str, *, add: bool = True) -> None:
        """Add the sums over every expert's rows to gradients of biases, or write them there."""
        if self.rank.postpones:
            self.rank.weighs(partial(self.bias_gradient, dy, into, label, add=add))
            return
        kind = GroupedBiasGradient(self.kind.groups, *self._columns(dy, into))
        self.rank.compute(kind, (dy, into) if add else (dy,), (into,), f"d{label}")

    def _columns(self, rows: Operand, biases: Operand) -> tuple[int, int]:
        """Return which columns of rows biases are for: how many, and the first."""
        width = biases.shape[1]
        return width, product((self.block, width)) if width < rows.shape[1] else 0


class ExpertMlp(Mlp):
    """The MLPs of several experts.

    Parameters
    ----------
    rank : Rank
    groups : Groups
        The rows of every expert.
    block : int
        See `Products`.
    """

    def __init__(self, rank: Rank, groups: Groups, block: int = 0) -> None:
        super().__init__(rank, Products(rank, groups, block), "experts.")
        self.groups = groups

    def biased(self, kind: ComputeKind, biases: Sequence[Operand]) -> ComputeKind:
        """Return an activation that adds to every row the biases of its expert."""
        return ByExpert(kind, self.groups, len(biases)) if biases else kind


class ExpertLayer(ABC):
    """The experts of all layers of a rank; a layout subclasses it.

    Parameters
    ----------
    rank : Rank
    place : ActivationShard
        Which tokens the rank holds between blocks.
    over : tuple of str
        The axes that experts are dealt over, outermost first.
    """

    def __init__(self, rank: Rank, place: ActivationShard, over: tuple[str, ...]) -> None:
        assert rank.model.experts is not None
        self.rank, self.place, self.over = rank, place, over
        self.experts: Experts = rank.model.experts
        self.degree = rank.mesh.degree(over)

    # ---- what a layout fills in --------------------------------------------------------------

    @abstractmethod
    def parts(self) -> list[Part]:
        """Return a rank's part of the experts of a layer."""

    @abstractmethod
    def forward(
        self, x: Operand, router: Weights, w: Weights, beside: Beside
    ) -> tuple[Operand, Any]:
        """Return what the experts make of the rank's tokens, and a tape."""

    @abstractmethod
    def backward(
        self, dy: Operand, normed: Normed, router: Weights, w: Weights, tape: Any, beside: Beside
    ) -> Operand:
        """Return the gradient of the input, that through the router included."""

    # ---- shared ------------------------------------------------------------------------------

    @property
    def apart(self) -> tuple[str, ...]:
        """The axes along which ranks hold different parts of the experts."""
        return self.over

    @property
    def dealing(self) -> Dealing:
        """How the rank deals its tokens in the layer at hand."""
        assert self.rank.layer is not None
        batch, tokens, _ = self.place.shape(self.rank.workload.batch, 1)
        routing = self.rank.workload.routing
        return routing.dealing(self.rank.layer, self.experts, batch * tokens)

    def cut(self, *, columns: bool) -> list[Part]:
        """Return the rank's part of the experts: some of them, or some columns of all."""
        return expert_parts(self.rank.model, self.over or None, self.degree, columns=columns)

    def gate(self, x: Operand, router: Weights) -> GateTape:
        """Record the router."""
        logits = self.rank.matmul(x, router.value["router"], "router")
        if _BIAS in router.value:
            self.rank.bias(logits, router.value[_BIAS], "router.bias")
        weights = self.rank.statistics("weights", (*x.shape[:2], self.experts.active))
        kind = Gate(self.experts.router, self.dealing, self.place)
        self.rank.compute(kind, (logits,), (weights,), "gate")
        return GateTape(logits, weights)

    def gate_backward(
        self, dweights: Operand, normed: Normed, router: Weights, tape: GateTape
    ) -> Operand:
        """Record the router's gradients; return that of its products."""
        dlogits = self.rank.tensor("dlogits", tape.logits.shape)
        kind = GateBackward(self.experts.router, self.dealing, None, self.rank.tokens)
        self.rank.compute(kind, (dweights, tape.logits), (dlogits,), "dgate")
        into = router.gradient["router"]
        self.rank.weighs(lambda: self.rank.weight_gradient(normed(), dlogits, into, "router"))
        if _BIAS in router.gradient:
            self.rank.bias_gradient(dlogits, router.gradient[_BIAS], "router.bias")
        return dlogits

    def through_router(self, dlogits: Operand, router: Weights, dx: Operand) -> Operand:
        """Add to the input's gradient what comes of the router's products."""
        weight = router.value["router"]
        return self.rank.matmul(dlogits, weight, "dx.router", add_to=dx, transpose_b=True)

    def permute(self, x: Operand, picked: Copies) -> Operand:
        """Return rows in the order of their experts."""
        rows = self.rank.tensor("rows", (picked.rows, x.shape[-1]))
        self.rank.compute(Permute(picked), (x,), (rows,), "permute")
        return rows

    def permute_backward(
        self,
        drows: Operand,
        picked: Copies,
        tokens: tuple[int, ...],
        add_to: Operand | None = None,
    ) -> Operand:
        """Return what came of every token's rows, added up, as the tokens lie."""
        shape = (*tokens, drows.shape[-1])
        forward = self.rank.phase in ("forward", "recompute")
        dx = add_to or self.rank.tensor("experts" if forward else "dx", shape)
        kind = PermuteBackward(picked, shape if len(shape) > 2 else None)
        inputs = (drows, *present(add_to))
        self.rank.compute(kind, inputs, (dx,), "combine" if forward else "dpermute")
        return dx

    def combine(
        self, rows: Operand, weights: Operand, picked: Copies, add_to: Operand | None = None
    ) -> Operand:
        """Return the weighted sum of every token's rows."""
        out = add_to or self.rank.tensor("experts", (*weights.shape[:-1], rows.shape[-1]))
        inputs = (rows, weights, *present(add_to))
        self.rank.compute(Combine(picked), inputs, (out,), "combine")
        return out

    def combine_backward(
        self,
        dy: Operand,
        rows: Operand,
        weights: Operand,
        picked: Copies,
        add_to: Operand | None = None,
    ) -> tuple[Operand, Operand]:
        """Return the gradients of rows and of weights; the latter added to an operand, if given."""
        drows = self.rank.tensor("drows", rows.shape)
        dweights = add_to or self.rank.statistics("dweights", weights.shape)
        inputs = (dy, rows, weights, *present(add_to))
        self.rank.compute(CombineBackward(picked), inputs, (drows, dweights), "dcombine")
        return drows, dweights


def present(*operands: Operand | None) -> tuple[Operand, ...]:
    """Return those that are there."""
    return tuple(operand for operand in operands if operand is not None)
