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
    attention : Weights
    mlp : Weights or None
        The MLP's, or those of the experts that all tokens go to; None where there are none.
    norm1, norm2 : Weights or None
        Norms of their inputs.
    qk_norm : Weights or None
        Norms of queries and keys.
    bias1, bias2 : Weights or None
        Biases of their outputs.
    behind1, behind2 : Weights or None
        Norms of their outputs.
    router, experts : Weights or None
        Where the layer has experts.
    down, latent_norms : Weights or None
        What latent attention has between blocks: its ways down, and the norms of latents.
    """

    attention: Weights
    mlp: Weights | None = None
    norm1: Weights | None = None
    norm2: Weights | None = None
    qk_norm: Weights | None = None
    bias1: Weights | None = None
    bias2: Weights | None = None
    behind1: Weights | None = None
    behind2: Weights | None = None
    router: Weights | None = None
    experts: Weights | None = None
    down: Weights | None = None
    latent_norms: Weights | None = None

    @property
    def packs(self) -> tuple[Weights, ...]:
        """All of them, in the order in which forward reads them."""
        latent = (self.down, self.latent_norms)
        first = (self.norm1, *latent, self.attention, self.qk_norm, self.bias1, self.behind1)
        second = (self.norm2, self.router, self.experts, self.mlp, self.bias2, self.behind2)
        return tuple(w for w in (*first, *second) if w)

    @property
    def flats(self) -> tuple[Operand, ...]:
        """All values, and all gradients where there are any."""
        return tuple(flat for w in self.packs for flat in w.flats)

    @property
    def between(self) -> tuple[Weights, ...]:
        """What is whole on every rank: norms, biases of outputs, and routers.

        Of latent attention its norms, and the ways down unless they are cut.
        """
        down = self.down if self.down and self.down.value.parts[0].shard.axis is None else None
        first = (self.norm1, down, self.latent_norms, self.bias1, self.behind1)
        second = (self.norm2, self.router, self.bias2, self.behind2)
        return tuple(w for w in (*first, *second) if w)

    @property
    def head_norms(self) -> tuple[Weights, ...]:
        """Norms of queries and keys with one weight for all heads, whole on every rank."""
        return (self.qk_norm,) if self.qk_norm and not self._cuts_norms else ()

    @property
    def cut_norms(self) -> tuple[Weights, ...]:
        """Norms of whole projections, cut as these are."""
        return (self.qk_norm,) if self.qk_norm and self._cuts_norms else ()

    @property
    def matrices(self) -> tuple[Weights, ...]:
        """All that is cut as the matrices are: these, and norms of whole projections."""
        return tuple(w for w in (self.attention, *self.cut_norms, self.mlp) if w)

    @property
    def _cuts_norms(self) -> bool:
        return self.qk_norm is not None and self.qk_norm.value.parts[0].shard.axis is not None

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
        Outputs of the norms before both blocks, and what their backward reads; without norms, what
        the blocks read.
    attention, mlp : Any
        What the strategy's own forward left.
    latents : Any
        What the ways down of latent attention left.
    mask1, mask2 : Operand
        Of the dropout behind both blocks; None where there is none.
    behind1, behind2 : NormTape
        Of the norms behind both blocks; None where there are none.
    """

    x: Operand
    middle: Operand | None = None
    norm1: NormTape | None = None
    norm2: NormTape | None = None
    attention: Any = None
    mlp: Any = None
    mask1: Operand | None = None
    mask2: Operand | None = None
    behind1: NormTape | None = None
    behind2: NormTape | None = None
    latents: Any = None
