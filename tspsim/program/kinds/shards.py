"""Collectives between flat operands and their shards: what sharded weights and gradients need."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.mesh import Axes
from tspsim.program.chunks import Layout, flat, joined, shards
from tspsim.program.kinds.base import Array, Where
from tspsim.program.kinds.communication import Members, summed
from tspsim.program.kinds.pointwise import Pointwise
from tspsim.program.types import CollectiveKind, Operand, Work


@dataclass(frozen=True, slots=True)
class GatherShards:
    """``shards -> operands``: every member gets the whole of what each holds a shard of.

    Parameters
    ----------
    layouts : tuple of Layout
        How the operands are cut, one after another.
    """

    layouts: tuple[Layout, ...]
    name: CollectiveKind = "all_gather"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the whole operands, once per member."""
        columns = zip(zip(*members, strict=True), self.layouts, strict=True)
        whole = tuple(joined(parts, layout) for parts, layout in columns)
        return [whole for _ in members]

    def text(self) -> str:
        """Return the name."""
        return f"{self.name}(shards)"


@dataclass(frozen=True, slots=True)
class ReduceToShards:
    """``(operands, shards) -> shards``: every member's shards grow by its part of the sums.

    Parameters
    ----------
    layouts : tuple of Layout
    """

    layouts: tuple[Layout, ...]
    name: CollectiveKind = "reduce_scatter"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's shards."""
        count = len(self.layouts)
        totals = summed([mine[:count] for mine in members])
        cut = [
            shards(t, layout, len(members)) for t, layout in zip(totals, self.layouts, strict=True)
        ]
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
