"""What ties a program to the dense model: for the reading by values alone."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from tspsim.mesh import Axes
from tspsim.program.types import Operand


class Shard(NamedTuple):
    """Which part of a dense tensor a rank holds.

    The tensor is cut into `blocks` equal blocks along `dim`; the rank at coordinate c of `axis`
    (or of several axes as one) holds block ``c // replicas * per_rank + first``. ``axis=None``
    means c = 0. With `of`, what is cut is not the dense tensor but that shard of it.
    """

    dim: int = 0
    blocks: int = 1
    axis: Axes | None = None
    per_rank: int = 1
    first: int = 0
    replicas: int = 1
    of: Shard | None = None

    def block(self, coordinate: int) -> int:
        """Return the block held at a coordinate."""
        return coordinate // self.replicas * self.per_rank + self.first


BindingRole = Literal["value", "gradient", "moved", "loss", "cache"]


class Binding(NamedTuple):
    """Ties an operand to a tensor of the dense model, so that values can be filled in and compared.

    Attributes
    ----------
    operand : Operand
    tensor : str
        Name in the dense model, for example ``"L3.wq"`` or ``"tokens"``.
    place : Shard, ActivationShard or Rows
        Which part of it: a `Shard` of a weight, the `ActivationShard` of an activation, or the
        `Rows` that a cache has.
    role : {"value", "gradient", "moved", "loss", "cache"}
        Filled in before the first op; or compared with the dense gradient after the last: by
        itself, or by how far it has moved down from where it was (a weight); or compared with the
        dense loss. A cache is filled by the steps before.
    """

    operand: Operand
    tensor: str
    place: Any
    role: BindingRole


class Probe(NamedTuple):
    """An operand whose value is compared with the dense model right after an op has run."""

    operand: Operand
    tensor: str
    place: Any
    after: int
