"""One layer as a strategy holds it: its weights, and what its forward leaves for its backward."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

from tspsim.program.packed import Weights
from tspsim.program.rank import NormTape
from tspsim.program.types import Operand
from tspsim.strategies.parts.groups import Group

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
    down, latent_norms : Weights or None
        What latent attention has between blocks: its ways down, and the norms of latents.
    """

    norm1: Weights
    attention: Weights
    norm2: Weights
    mlp: Weights
    bias1: Weights | None = None
    bias2: Weights | None = None
    down: Weights | None = None
    latent_norms: Weights | None = None

    @property
    def packs(self) -> tuple[Weights, ...]:
        """All of them, in the order in which forward reads them."""
        first = (self.norm1, self.down, self.latent_norms, self.attention, self.bias1)
        return tuple(w for w in (*first, self.norm2, self.mlp, self.bias2) if w)

    @property
    def flats(self) -> tuple[Operand, ...]:
        """All values, and all gradients where there are any."""
        return tuple(flat for w in self.packs for flat in w.flats)

    @property
    def between(self) -> tuple[Weights, ...]:
        """What is read between blocks, whole on every rank: norms, and biases of outputs.

        Of latent attention its norms, and the ways down unless they are cut.
        """
        down = self.down if self.down and self.down.value.parts[0].shard.axis is None else None
        parts = (self.norm1, down, self.latent_norms, self.bias1, self.norm2, self.bias2)
        return tuple(w for w in parts if w)

    def now(self, group: Group, *, gradient: bool = False) -> LayerWeights:
        """Return them as their group has them now."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        present = {
            name: group.now(w, gradient=gradient) for name, w in fields.items() if w is not None
        }
        return LayerWeights(**present)


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
    latents : Any
        What the ways down of latent attention left.
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
    latents: Any = None
