"""From flat operands to their shards and back: what sharded weights and gradients need."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tspsim.mesh import Axes
from tspsim.program.chunks import Layout, flat, joined, shards
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.communication import Members, summed
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.types import NO_WORK, CollectiveKind, Operand, Work


@dataclass(frozen=True, slots=True)
class CopyOut(Pointwise):
    """``gathered -> operands``: from the shards of all members to what they are of.

    Parameters
    ----------
    layouts : tuple of Layout
        How the operands are cut, one after another.
    members : int
    """

    layouts: tuple[Layout, ...]
    members: int
    name = "copy_out"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the whole operands."""
        pairs = zip(arrays, self.layouts, strict=True)
        return tuple(joined(np.split(x, self.members), layout) for x, layout in pairs)


@dataclass(frozen=True, slots=True)
class CopyIn(Pointwise):
    """``operands -> shards of all members``, one member's after another's.

    Parameters
    ----------
    layouts : tuple of Layout
    members : int
    """

    layouts: tuple[Layout, ...]
    members: int
    name = "copy_in"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return the shards."""
        pairs = zip(arrays, self.layouts, strict=True)
        return tuple(np.concatenate(shards(x, layout, self.members)) for x, layout in pairs)


@dataclass(frozen=True, slots=True)
class ReduceToShards:
    """``(operands, shards) -> shards``: every member's shards grow by its part of the sums."""

    name: CollectiveKind = "reduce_scatter"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's shards."""
        count = len(members[0]) // 2
        totals = summed([mine[:count] for mine in members])
        cut = [shards(total, flat(total.size), len(members)) for total in totals]
        return [
            tuple(target + parts[i] for target, parts in zip(mine[count:], cut, strict=True))
            for i, mine in enumerate(members)
        ]

    def text(self) -> str:
        """Return the name."""
        return f"{self.name}(shards)"


@dataclass(frozen=True, slots=True)
class AllReduceInto:
    """``(operands, targets) -> targets``: every member's targets grow by the sums."""

    name: CollectiveKind = "all_reduce"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's targets."""
        count = len(members[0]) // 2
        totals = summed([mine[:count] for mine in members])
        return [
            tuple(target + total for target, total in zip(mine[count:], totals, strict=True))
            for mine in members
        ]

    def text(self) -> str:
        """Return the name."""
        return f"{self.name}(into)"


@dataclass(frozen=True, slots=True)
class OwnParts(Pointwise):
    """``shards -> operands`` of all members: the own part of each, in the operand's type.

    Parameters
    ----------
    axes : str or tuple of str
    members : int
    """

    axes: Axes
    members: int
    name = "own_parts"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return the traffic of one part."""
        written = sum(o.bytes for o in outputs) // self.members
        return Work(0, sum(o.bytes for o in inputs) + written, "elementwise")

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the operands, zeros where the others' parts come."""
        mine = where.coordinate(self.axes)
        outs = [np.zeros((self.members, x.size)) for x in arrays]
        for out, x in zip(outs, arrays, strict=True):
            out[mine] = x.reshape(-1)
        return tuple(out.reshape(-1) for out in outs)


@dataclass(frozen=True, slots=True)
class LetGo(Pointwise):
    """``operands ->``: they are held until here, whether or not anything reads them."""

    name = "let_go"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return nothing: the device does not notice."""
        return NO_WORK._replace(launches=0)

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return nothing."""
        return ()


@dataclass(frozen=True, slots=True)
class Keep(Pointwise):
    """``operands -> shards``: of what is whole a member keeps its part of a block of neighbours.

    Parameters
    ----------
    axes : str or tuple of str
    members : int
        Of the block.
    """

    axes: Axes
    members: int
    name = "keep"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:  # noqa: ARG002
        """Return the traffic of what is kept."""
        return Work(0, 2 * sum(o.bytes for o in outputs), "elementwise")

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:
        """Return the rank's parts."""
        mine = where.coordinate(self.axes) % self.members
        return tuple(shards(x, flat(x.size), self.members)[mine] for x in arrays)
