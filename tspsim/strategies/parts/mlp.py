"""The MLP over one shard of its width, gated or plain, forward and backward."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


@dataclass(frozen=True, slots=True)
class MlpTape:
    """What a shard's forward leaves: (gate,) up, the hidden activations, and silu if apart."""

    ups: tuple[Operand, ...]
    hidden: Operand
    silu: Operand | None = None


class Mlp:
    """Matmuls and activation over a shard of the MLP's width.

    Parameters
    ----------
    rank : Rank
    """

    def __init__(self, rank: Rank) -> None:
        self.rank = rank
        self.ins = ("gate", "up") if rank.model.mlp == "gated" else ("up",)

    def hidden(self, x: Operand, w: Packed) -> MlpTape:
        """Record everything before the last matmul."""
        ups = tuple(self.rank.matmul(x, w[name], name) for name in self.ins)
        return MlpTape(ups, *self.rank.activate(ups, self._biases(w), "activation"))

    def _biases(self, w: Packed) -> list[Operand]:
        return [w[f"b{name}"] for name in self.ins if f"b{name}" in w]

    def down(self, tape: MlpTape, w: Packed, add_to: Operand | None = None) -> Operand:
        """Return the shard's part of the output."""
        return self.rank.matmul(tape.hidden, w["down"], "down", add_to=add_to)

    def down_backward(self, dy: Operand, tape: MlpTape, w: Packed, into: Packed) -> None:
        """Record dW of the last matmul, and the gradients of gate and up, written over them."""
        self.down_gradient(dy, tape, into)
        self.hidden_backward(dy, tape, w)

    def down_gradient(self, dy: Operand, tape: MlpTape, into: Packed, *, add: bool = True) -> None:
        """Add (or write) dW of the last matmul."""
        self.rank.weight_gradient(tape.hidden, dy, into["down"], "down", add=add)

    def hidden_backward(self, dy: Operand, tape: MlpTape, w: Packed) -> None:
        """Record the gradients of gate and up, written over them."""
        dhidden = self.rank.matmul(dy, w["down"], "dhidden", transpose_b=True)
        biases = self._biases(w)
        self.rank.activate_backward(dhidden, tape.ups, biases, tape.silu, "dactivation")

    def input_gradient(
        self, dups: tuple[Operand, ...], w: Packed, add_to: Operand | None = None
    ) -> Operand:
        """Return the gradient of the input from the gradients of gate and up."""
        for name, gradient in zip(self.ins, dups, strict=True):
            add_to = self.rank.matmul(
                gradient, w[name], f"dx.{name}", add_to=add_to, transpose_b=True
            )
        assert add_to is not None
        return add_to

    def weight_gradients(
        self, x: Operand, dups: tuple[Operand, ...], into: Packed, *, add: bool = True
    ) -> None:
        """Add (or write) the gradients of gate and up, and of their biases."""
        for name, gradient in zip(self.ins, dups, strict=True):
            self.rank.weight_gradient(x, gradient, into[name], name, add=add)
            if f"b{name}" in into:
                self.rank.bias_gradient(gradient, into[f"b{name}"], f"b{name}", add=add)
