"""Where weights live: flat parameters that travel in one message, gradients beside them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn

#: The dim along which a matrix is cut over ranks; what is not named is held whole.
CUT = {
    "wq": 1, "wk": 1, "wv": 1, "wo": 0, "gate": 1, "up": 1, "down": 0, "embedding": 0, "head": 0,
    "expert_gate": 0, "expert_up": 0, "expert_down": 0,
}  # fmt: skip

Shapes = Mapping[str, tuple[int, ...]]


def shard(name: str, dense: Tensor, degree: int, coordinate: int) -> Tensor:
    """Return a rank's part of a tensor of the dense model, such as ``"0.wq"``.

    Columns of Wq, Wk, Wv (whole heads), gate and up; the matching rows of Wo and down; rows of
    the vocabulary tables; some whole experts; all of a norm and of a router.
    """
    dim = CUT.get(name.rpartition(".")[2])
    return dense if dim is None else dense.chunk(degree, dim)[coordinate]


def size(shapes: Shapes) -> int:
    """Return the number of elements of some tensors."""
    return sum(math.prod(shape) for shape in shapes.values())


def views(shapes: Shapes, flat: Tensor) -> dict[str, Tensor]:
    """Return the tensors that lie one after another in a flat one."""
    parts = flat.split([math.prod(shape) for shape in shapes.values()])
    return {name: part.view(shapes[name]) for name, part in zip(shapes, parts, strict=True)}


class Weights(nn.Module):
    """Weights of a layer, or of the ends of the model, packed by how they travel.

    Parameters
    ----------
    packs : dict
        By the name of a pack, the shapes of the tensors in it.
    dtype : torch.dtype
    device : str

    Attributes
    ----------
    gradient : Tensor
        The gradients of all packs, in their order; nothing while they are handed to autograd.
    """

    def __init__(self, packs: Mapping[str, Shapes], dtype: torch.dtype, device: str) -> None:
        super().__init__()
        self.packs = dict(packs)
        self._handed: dict[str, Tensor] | None = None
        self._kept: set[str] = set()
        sizes = [size(shapes) for shapes in self.packs.values()]
        self.gradient = torch.zeros(sum(sizes), dtype=dtype, device=device)
        for name, part in zip(self.packs, self.gradient.split(sizes), strict=True):
            parameter = nn.Parameter(torch.zeros_like(part))
            parameter.grad = part
            self.register_parameter(name, parameter)

    def flat(self, pack: str) -> Tensor:
        """Return a flat parameter."""
        return self.get_parameter(pack).detach()

    @property
    def gradients(self) -> list[Tensor]:
        """All gradients: one message, or one a pack while they are handed to autograd."""
        if self._handed is None:
            return [self.gradient]
        return [self.flat_gradient(pack) for pack in self.packs]

    def flat_gradient(self, pack: str) -> Tensor:
        """Return the gradient of a flat parameter."""
        if self._handed is not None:
            if pack not in self._handed:
                self._handed[pack] = torch.zeros_like(self.flat(pack))
            return self._handed[pack]
        sizes = [size(shapes) for shapes in self.packs.values()]
        return self.gradient.split(sizes)[list(self.packs).index(pack)]

    def first_gradients(self, packs: int) -> Tensor:
        """Return the gradients of the first so many packs, which lie one after another."""
        shapes = list(self.packs.values())[:packs]
        return self.gradient[: sum(map(size, shapes))]

    def value(self, pack: str, flat: Tensor | None = None) -> dict[str, Tensor]:
        """Return the tensors of a pack: the own ones, or those in `flat` that came from a peer."""
        return views(self.packs[pack], self.flat(pack) if flat is None else flat)

    def grad(self, pack: str) -> dict[str, Tensor]:
        """Return the gradients of a pack's tensors."""
        return views(self.packs[pack], self.flat_gradient(pack))

    def open(self, *, adds: bool = False) -> None:
        """Begin a backward that hands gradients to autograd: zeros when they are asked for.

        With `adds` those of an earlier micro-batch are added to, if there are any.
        """
        named = self.named_parameters() if adds else ()
        self._handed = {name: p.grad for name, p in named if p.grad is not None}
        self._kept = set(self._handed)

    def close(self) -> list[Tensor | None]:
        """Return the packs' gradients, of which only the caller keeps hold; None: added there."""
        gradients = [None if p in self._kept else self.flat_gradient(p) for p in self.packs]
        self._handed, self.gradient = None, self.gradient.new_empty(0)
        return gradients

    def tensors(self) -> Iterator[tuple[str, Tensor, Tensor]]:
        """Yield every tensor's name, value and gradient."""
        for pack in self.packs:
            gradients = self.grad(pack)
            for name, value in self.value(pack).items():
                yield name, value, gradients[name]
