"""The MLP over one shard of its width, gated or plain, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.gate import Multiply, Silu, SiluBackward
from tspsim.program.kinds.pointwise import Gated, GatedBackward, Gelu, GeluBackward
from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


class Products(Protocol):
    """What records matrix products: a rank, or that by expert."""

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
        """Return ``a b`` or ``a bᵀ``; added to an operand, or written to one."""

    def weight_gradient(
        self, x: Operand, dy: Operand, into: Operand, label: str, *, add: bool = True
    ) -> None:
        """Add ``xᵀ dy`` to a weight gradient, or write it there."""

    def bias(self, x: Operand, b: Operand, label: str) -> None:
        """Add a bias to x in place."""

    def bias_gradient(self, dy: Operand, into: Operand, label: str, *, add: bool = True) -> None:
        """Add the sums of dy to a bias gradient, or write them there."""


@dataclass(frozen=True, slots=True)
class MlpTape:
    """What a shard's forward leaves: (gate,) up, hidden, and the active gate if apart."""

    ups: tuple[Operand, ...]
    hidden: Operand
    active: Operand | None = None


class Mlp:
    """Matmuls and activation over a shard of the MLP's width.

    Parameters
    ----------
    rank : Rank
    products : Products, optional
        What records matrix products; the rank itself when not given.
    prefix : str
        Of labels.
    """

    def __init__(self, rank: Rank, products: Products | None = None, prefix: str = "") -> None:
        self.rank, self.products, self.prefix = rank, products or rank, prefix
        self.ins = ("gate", "up") if rank.model.mlp == "gated" else ("up",)

    def hidden(self, x: Operand, w: Packed) -> MlpTape:
        """Record everything before the last matmul."""
        ups = tuple(self.products.matmul(x, w[name], self.prefix + name) for name in self.ins)
        return MlpTape(ups, *self._activate(ups, self._biases(w)))

    def _biases(self, w: Packed) -> list[Operand]:
        return [w[f"b{name}"] for name in self.ins if f"b{name}" in w]

    def biased(self, kind: ComputeKind, biases: Sequence[Operand]) -> ComputeKind:  # noqa: ARG002
        """Return an activation that adds biases, which are its last inputs: it does."""
        return kind

    def _bias_gradient(self, dy: Operand, into: Packed, name: str, *, add: bool) -> None:
        if f"b{name}" in into:
            label = f"{self.prefix}b{name}"
            self.products.bias_gradient(dy, into[f"b{name}"], label, add=add)

    def _activate(
        self, ups: Sequence[Operand], biases: Sequence[Operand]
    ) -> tuple[Operand, Operand | None]:
        """Return active(gate) * up of (gate, up) or gelu of (up,), and active(gate) if apart.

        Biases are added in the same kernel; where there are several, before them and in place.
        """
        rank, shape = self.rank, ups[0].shape
        out = rank.tensor("hidden", shape)
        if len(ups) == 1 or rank.kernels.activation == "fused":
            fused = Gated(rank.model.gate) if len(ups) == 2 else Gelu()
            inputs = (*ups, *biases)
            rank.compute(self.biased(fused, biases), inputs, (out,), "activation")
            return out, None
        for name, x, bias in zip(self.ins, ups, biases, strict=False):
            self.products.bias(x, bias, f"b{name}")
        active = rank.tensor(rank.model.gate, shape)
        kind = Silu() if rank.model.gate == "silu" else Gelu()
        rank.compute(kind, ups[:1], (active,), rank.model.gate)
        rank.compute(Multiply(), (active, ups[1]), (out,), "activation")
        return out, active

    def down(
        self,
        tape: MlpTape,
        w: Packed,
        add_to: Operand | None = None,
        out: Operand | None = None,
    ) -> Operand:
        """Return the shard's part of the output: added to an operand, or written to one."""
        label = f"{self.prefix}down"
        out = self.products.matmul(tape.hidden, w["down"], label, add_to=add_to, out=out)
        if "bdown" in w:
            self.products.bias(out, w["bdown"], f"{self.prefix}bdown")
        return out

    def down_backward(self, dy: Operand, tape: MlpTape, w: Packed, into: Packed) -> None:
        """Record dW of the last matmul, and the gradients of gate and up, written over them."""
        self.down_gradient(dy, tape, into)
        self.hidden_backward(dy, tape, w)

    def down_gradient(self, dy: Operand, tape: MlpTape, into: Packed, *, add: bool = True) -> None:
        """Add (or write) dW of the last matmul, and the gradient of its bias."""
        label = f"{self.prefix}down"
        self.products.weight_gradient(tape.hidden, dy, into["down"], label, add=add)
        self._bias_gradient(dy, into, "down", add=add)

    def hidden_backward(self, dy: Operand, tape: MlpTape, w: Packed) -> None:
        """Record the gradients of gate and up, written over them."""
        label = f"{self.prefix}dhidden"
        dhidden = self.products.matmul(dy, w["down"], label, transpose_b=True)
        if tape.active is None:
            gate = self.rank.model.gate
            kind = GatedBackward(gate) if len(tape.ups) == 2 else GeluBackward()
            biases = self._biases(w)
            inputs = (dhidden, *tape.ups, *biases)
            self.rank.compute(self.biased(kind, biases), inputs, tape.ups, "dactivation")
            return
        self._gate_backward(dhidden, tape.ups, tape.active)

    def _gate_backward(self, dhidden: Operand, ups: Sequence[Operand], active: Operand) -> None:
        rank, name = self.rank, f"d{self.rank.model.gate}"
        dactive = rank.tensor(name, active.shape)
        rank.compute(Multiply(), (dhidden, ups[1]), (dactive,), name)
        rank.compute(Multiply(), (dhidden, active), ups[1:], "dup")
        kind = SiluBackward() if rank.model.gate == "silu" else GeluBackward()
        rank.compute(kind, (dactive, ups[0]), ups[:1], "dactivation")

    def input_gradient(
        self,
        dups: tuple[Operand, ...],
        w: Packed,
        add_to: Operand | None = None,
        out: Operand | None = None,
    ) -> Operand:
        """Return the gradient of the input from the gradients of gate and up."""
        for name, gradient in zip(self.ins, dups, strict=True):
            label = f"{self.prefix}dx.{name}"
            add_to = self.products.matmul(
                gradient, w[name], label, add_to=add_to, transpose_b=True, out=out
            )
        assert add_to is not None
        return add_to

    def gradients(
        self, x: Operand, dy: Operand, tape: MlpTape, into: Packed, *, add: bool = True
    ) -> None:
        """Add (or write) the gradients of all weights."""
        self.down_gradient(dy, tape, into, add=add)
        self.weight_gradients(x, tape.ups, into, add=add)

    def weight_gradients(
        self, x: Operand, dups: tuple[Operand, ...], into: Packed, *, add: bool = True
    ) -> None:
        """Add (or write) the gradients of gate and up, and of their biases."""
        for name, gradient in zip(self.ins, dups, strict=True):
            label = self.prefix + name
            self.products.weight_gradient(x, gradient, into[name], label, add=add)
            self._bias_gradient(gradient, into, name, add=add)
