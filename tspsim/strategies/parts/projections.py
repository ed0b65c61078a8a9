"""Projections around the attention core for one group of heads, forward and backward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from tspsim.program.axis import Axis
from tspsim.program.cached import Rows
from tspsim.program.packed import Packed
from tspsim.program.rank import Rank
from tspsim.program.tokens import Tokens
from tspsim.program.types import Operand
from tspsim.strategies.exchanges.base import CoreTape
from tspsim.strategies.parts.head_norms import HeadNorms, NormWeights, Saved, head_norms

#: Of q, k and v; or of what matrix products gave, in which way these came out of it.
Gradients = tuple[Operand, Operand, Operand]


@dataclass(slots=True)
class Bucket:
    """One bucket of heads while it is projected.

    Parameters
    ----------
    w : Packed
        The weights of the projections.
    norms : NormWeights
        Those of the norms of queries and keys.
    index : int
        Which bucket.
    saved : dict
        What the backward of the norms reads, of q and of k.
    """

    w: Packed
    norms: NormWeights
    index: int = 0
    saved: dict[str, Saved] = field(default_factory=dict)

    def of(self, tape: CoreTape) -> CoreTape:
        """Return the tape with what the backward of the norms reads."""
        norms = (self.saved["q"], self.saved["k"]) if self.saved else None
        return replace(tape, norms=norms)


class Projections:
    """Query, key and value projections with bias, norms and rotary positions, of the rank's tokens.

    Parameters
    ----------
    rank : Rank
    tokens : Tokens
        Positions of the rows.
    axis : Axis or None
        Cuts the heads.
    """

    def __init__(self, rank: Rank, tokens: Tokens | Rows, axis: Axis | None = None) -> None:
        self.rank, self.tokens = rank, tokens
        self.norms = head_norms(rank, axis)

    def spread(self, x: Operand) -> Operand:
        """Return the input with what of it is gathered: nothing."""
        return x

    def collect(self, dx: Operand) -> Operand:
        """Return the gradient of the rank's own tokens: it is."""
        return dx

    def queries(self, x: Operand, to: Bucket) -> Operand:
        """Return q of one bucket of heads, with its norm and positions."""
        return self._project(x, to, "q")

    def _project(self, x: Operand, to: Bucket, which: str) -> Operand:
        out = self.product(x, to, which)
        if which in "qk":
            out = self._normed(out, to, which)
            self.turn(out, f"rotary.{which}")
        return out

    @property
    def _positions(self) -> bool:
        """Whether the layer at hand has positions."""
        assert self.rank.layer is not None
        return self.rank.model.kind(self.rank.layer).positions

    @property
    def _layer_norms(self) -> HeadNorms | None:
        """The norms that the layer at hand has."""
        plain = self.rank.model.qk_norm == "plain"
        return None if plain and not self._positions else self.norms

    def turn(self, x: Operand, label: str, *, inverse: bool = False) -> None:
        """Turn queries or keys, or gradients of them back, by positions where the layer has any."""
        if self._positions:
            self.rank.rotary(x, self.tokens, label, inverse=inverse)

    def product(self, x: Operand, to: Bucket, which: str) -> Operand:
        """Return what comes of one matrix, with its bias."""
        name = f"{which}{to.index}"
        out = self.rank.matmul(x, to.w[name], which)
        if f"b{name}" in to.w:
            self.rank.bias(out, to.w[f"b{name}"], f"b{which}")
        return out

    def _normed(self, x: Operand, to: Bucket, which: str) -> Operand:
        if self._layer_norms is None:
            return x
        out, to.saved[which] = self._layer_norms.forward(x, to.norms, which)
        return out

    def keys_values(self, x: Operand, to: Bucket) -> tuple[Operand, Operand]:
        """Return k and v of one bucket."""
        return self._project(x, to, "k"), self._project(x, to, "v")

    def output(self, o: Operand, to: Bucket) -> Operand:  # noqa: ARG002
        """Return the heads' outputs as the way back reads them: as they are."""
        return o

    def saves(self, x: Operand, to: Bucket) -> None:
        """Record what backward reads of the keys' norm, where gathered keys were kept."""
        if self._layer_norms is not None:
            self._normed(self.product(x, to, "k"), to, "k")

    def before_positions(
        self, gradients: Gradients, tape: CoreTape, norms: NormWeights
    ) -> Gradients:
        """Return the gradients of the products: those of q and k turned back, through norms."""
        dq, dk, dv = gradients
        self.turn(dq, "rotary.dq", inverse=True)
        self.turn(dk, "rotary.dk", inverse=True)
        if self.norms is None or tape.norms is None:
            return gradients
        q, k = tape.norms
        dq = self.norms.backward(dq, q, norms, "q")
        return dq, self.norms.backward(dk, k, norms, "k"), dv

    def weighed(self, x: Operand) -> Operand:
        """Return what weight gradients read of the input: all."""
        return x

    def input_gradient(
        self,
        gradients: Sequence[Operand],
        w: Packed,
        bucket: int,
        add_to: Operand | None = None,
        which: str = "qkv",
    ) -> Operand:
        """Return the gradient of the projections' input, by all of them or by some."""
        for name, gradient in zip(which, gradients, strict=True):
            weight = w[f"{name}{bucket}"]
            add_to = self.rank.matmul(
                gradient, weight, f"dx.{name}", add_to=add_to, transpose_b=True
            )
        assert add_to is not None
        return add_to

    def weight_gradients(
        self,
        x: Operand,
        gradients: Sequence[Operand],
        into: Packed,
        bucket: int,
        *,
        add: bool = True,
        which: str = "qkv",
    ) -> None:
        """Add (or write) the gradients of the projections' weights and biases, or of some."""
        for label, gradient in zip(which, gradients, strict=True):
            name = f"{label}{bucket}"
            self.rank.weight_gradient(x, gradient, into[name], label, add=add)
            if f"b{name}" in into:
                self.rank.bias_gradient(gradient, into[f"b{name}"], f"b{label}", add=add)
