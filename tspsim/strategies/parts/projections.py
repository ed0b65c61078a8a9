"""Projections around the attention core for one group of heads, forward and backward."""

from __future__ import annotations

from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand


class Projections:
    """Query, key and value projections with bias and rotary positions, of the rank's tokens.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        Positions of the rows.
    """

    def __init__(self, rank: Rank, tokens: Tokens) -> None:
        self.rank, self.tokens = rank, tokens

    def spread(self, x: Operand) -> Operand:
        """Return the input with what of it is gathered: nothing."""
        return x

    def collect(self, dx: Operand) -> Operand:
        """Return the gradient of the rank's own tokens: it is."""
        return dx

    def queries(self, x: Operand, w: Packed, bucket: int) -> Operand:
        """Return q of one bucket of heads."""
        return self._project(x, w, "q", bucket)

    def _project(self, x: Operand, w: Packed, which: str, bucket: int) -> Operand:
        """Return q, k or v of one bucket of heads, positions applied to q and k."""
        name = f"{which}{bucket}"
        out = self.rank.matmul(x, w[name], which)
        if f"b{name}" in w:
            self.rank.bias(out, w[f"b{name}"], f"b{which}")
        if which in "qk":
            self.rank.rotary(out, self.tokens, f"rotary.{which}")
        return out

    def keys_values(self, x: Operand, w: Packed, bucket: int) -> tuple[Operand, Operand]:
        """Return k and v of one bucket."""
        return self._project(x, w, "k", bucket), self._project(x, w, "v", bucket)

    def unrotate(
        self, gradients: tuple[Operand, Operand, Operand]
    ) -> tuple[Operand, Operand, Operand]:
        """Turn the gradients of q and k back, in place; return all three."""
        dq, dk, _ = gradients
        self.rank.rotary(dq, self.tokens, "rotary.dq", inverse=True)
        self.rank.rotary(dk, self.tokens, "rotary.dk", inverse=True)
        return gradients

    def weighed(self, x: Operand) -> Operand:
        """Return what weight gradients read of the input: all."""
        return x

    def input_gradient(
        self,
        gradients: tuple[Operand, Operand, Operand],
        w: Packed,
        bucket: int,
        add_to: Operand | None = None,
    ) -> Operand:
        """Return the gradient of the projections' input."""
        for which, gradient in zip("qkv", gradients, strict=True):
            weight = w[f"{which}{bucket}"]
            add_to = self.rank.matmul(
                gradient, weight, f"dx.{which}", add_to=add_to, transpose_b=True
            )
        assert add_to is not None
        return add_to

    def weight_gradients(
        self,
        x: Operand,
        gradients: tuple[Operand, Operand, Operand],
        into: Packed,
        bucket: int,
        *,
        add: bool = True,
    ) -> None:
        """Add (or write) the gradients of the projections' weights and biases."""
        for which, gradient in zip("qkv", gradients, strict=True):
            name = f"{which}{bucket}"
            self.rank.weight_gradient(x, gradient, into[name], which, add=add)
            if f"b{name}" in into:
                self.rank.bias_gradient(gradient, into[f"b{name}"], f"b{which}", add=add)
