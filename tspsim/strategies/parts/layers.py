"""One layer as a strategy holds it: its weights, and what its forward leaves for its backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tspsim.program.packed import Weights
from tspsim.program.rank import NormTape
from tspsim.program.types import Operand

#: Gives a norm's output: the kept one, or one computed again when it is asked for.
Normed: TypeAlias = Callable[[], Operand]


class LazyNorm:
    """A norm that was kept, or is computed again when its output or what it saves is asked for."""

    def __init__(self, kept: NormTape | None, again: Callable[[], NormTape]) -> None:
        self._kept, self._again = kept, again

    @property
    def tape(self) -> NormTape:
        """Output and what backward reads."""
        if self._kept is None:
            self._kept = self._again()
        return self._kept

    def __call__(self) -> Operand:
        """Return the output."""
        return self.tape.output


@dataclass(frozen=True, slots=True)
class LayerWeights:
    """Resident weights of one layer.

    Parameters
    ----------
    norm1, attention, norm2, mlp : Weights
    bias1, bias2 : Weights or None
        Biases of the outputs of attention and MLP.
    """

    norm1: Weights
    attention: Weights
    norm2: Weights
    mlp: Weights
    bias1: Weights | None = None
    bias2: Weights | None = None

    @property
    def packs(self) -> tuple[Weights, ...]:
        """All of them, in the order in which forward reads them."""
        parts = (self.norm1, self.attention, self.bias1, self.norm2, self.mlp, self.bias2)
        return tuple(w for w in parts if w)

    @property
    def flats(self) -> tuple[Operand, ...]:
        """All values, and all gradients where there are any."""
        return tuple(flat for w in self.packs for flat in w.flats)

    @property
    def between(self) -> tuple[Weights, ...]:
        """What is read between blocks, whole on every rank: norms, and biases of outputs."""
        return tuple(w for w in (self.norm1, self.bias1, self.norm2, self.bias2) if w)

    def each(self, seen: Callable[[Weights], Weights]) -> LayerWeights:
        """Return them as they are seen: `Group.now`, for example."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return LayerWeights(**{name: seen(w) for name, w in fields.items() if w is not None})


@dataclass(frozen=True, slots=True)
class LayerTape:
    """What one layer's forward leaves for its backward; None is what has to be recomputed.

    Parameters
    ----------
    x, middle : Operand
        The residual stream before the layer, and between attention and MLP.
    norm1, norm2 : NormTape
        Outputs of the two norms, and what their backward reads.
    attention, mlp : Any
        What the strategy's own forward left.
    mask1, mask2 : Operand
        Of the dropout behind both blocks; None where there is none.
    """

    x: Operand
    middle: Operand | None = None
    norm1: NormTape | None = None
    norm2: NormTape | None = None
    attention: Any = None
    mlp: Any = None
    mask1: Operand | None = None
    mask2: Operand | None = None
