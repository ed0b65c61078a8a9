"""Several tensors in one contiguous buffer: what travels in one message."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import NamedTuple

from tspsim.program.bindings import Shard
from tspsim.program.chunks import Chunks
from tspsim.program.recorder import view
from tspsim.program.types import Operand
from tspsim.program.varying import product, total


class Part(NamedTuple):
    """One tensor of a pack.

    Attributes
    ----------
    name : str
        Its key in the pack.
    shape : tuple of int
        This rank's shape.
    tensor : str
        Its tensor in the dense model, without the layer: ``"wq"``.
    shard : Shard
        Which part of that tensor.
    outputs : int
        The dim that stands first in torch's layout: of a matrix its output features, of a table
        its rows.
    """

    name: str
    shape: tuple[int, ...]
    tensor: str
    shard: Shard
    outputs: int = -1

    @property
    def chunks(self) -> Chunks:
        """How it is cut where members of a group hold a chunk each."""
        return Chunks(self.shape, self.outputs % len(self.shape))


@dataclass(frozen=True, slots=True)
class Packed:
    """A flat operand and the parts laid out in it, in order; ``packed["gate"]`` is a view."""

    flat: Operand
    parts: tuple[Part, ...]
    _offsets: Mapping[str, int] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        if not self._offsets:
            ends = accumulate((product(part.shape) for part in self.parts), _plus)
            starts = zip(self.parts, (0, *ends), strict=False)
            object.__setattr__(self, "_offsets", {part.name: at for part, at in starts})

    def __getitem__(self, name: str) -> Operand:
        offset = self._offsets[name]
        part = next(part for part in self.parts if part.name == name)
        return view(self.flat, offset, part.shape)

    def __contains__(self, name: object) -> bool:
        return name in self._offsets

    def views(self) -> Iterator[tuple[Part, Operand]]:
        """Yield every part with its view."""
        return ((part, self[part.name]) for part in self.parts)

    def over(self, flat: Operand) -> Packed:
        """Return the same layout over another flat operand."""
        return Packed(flat, self.parts, self._offsets)


def _plus(a: int, b: int) -> int:
    return total((a, b))


def elements(parts: Sequence[Part]) -> int:
    """Return the number of elements of a pack."""
    return total(product(part.shape) for part in parts)


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights of one rank; gradients only when training.

    Parameters
    ----------
    value, gradient : Packed
        In the forward phase there is no gradient, and asking for it is an error. Of what is
        resident as a shard the operand is that: its parts are there when it has been gathered.
    """

    value: Packed
    _gradient: Packed | None = None

    @property
    def flats(self) -> tuple[Operand, ...]:
        """The values, and the gradients where there are any."""
        return (self.value.flat, *([self._gradient.flat] if self._gradient else []))

    @property
    def gradient(self) -> Packed:
        """The gradient: what is added up."""
        if self._gradient is None:
            raise KeyError("gradients exist only in the train phase")
        return self._gradient

    def over(self, value: Operand, gradient: Operand | None) -> Weights:
        """Return the same weights with values, and gradients, in other places."""
        added = None if gradient is None else self.gradient.over(gradient)
        return Weights(self.value.over(value), added)


def span(packed: Packed, first: int, count: int) -> Packed:
    """Return so many of the matrices that each part of a pack is a stack of, from the first on."""
    parts, offsets = [], {}
    for part, operand in packed.views():
        _, *matrix = part.shape
        parts.append(part._replace(shape=(count, *matrix)))
        offsets[part.name] = operand.offset - packed.flat.offset + first * product(tuple(matrix))
    return Packed(packed.flat, tuple(parts), offsets)


def section(packed: Packed, first: int, count: int) -> Packed:
    """Return so many parts of a pack, side by side from one on, as a pack over a view."""
    parts = packed.parts[first : first + count]
    start = packed[parts[0].name].offset - packed.flat.offset
    return Packed(view(packed.flat, start, (elements(parts),)), parts)
