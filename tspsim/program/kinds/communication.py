"""What each collective does to values: from the members' inputs to the members' outputs.

Several operands may travel in one call (a coalesced message); each is treated alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from tspsim.program.kinds.base import Array, Where
from tspsim.program.types import CollectiveKind

#: For every member of the communicator, in order, the arrays of its operands.
Members: TypeAlias = Sequence[Sequence[Array]]


@dataclass(frozen=True, slots=True)
class AllReduce:
    """Every member gets the sum, in place."""

    name: CollectiveKind = "all_reduce"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the sums, once per member."""
        total = summed(members)
        return [total for _ in members]

    def text(self) -> str:
        """Return the name."""
        return self.name


@dataclass(frozen=True, slots=True)
class AllGather:
    """Every member gets all members' blocks, concatenated along `dim` in member order."""

    dim: int
    name: CollectiveKind = "all_gather"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the concatenated blocks, once per member."""
        columns = zip(*members, strict=True)
        whole = tuple(np.concatenate(blocks, axis=self.dim) for blocks in columns)
        return [whole for _ in members]

    def text(self) -> str:
        """Return the name and the dim."""
        return f"all_gather(dim {self.dim})"


@dataclass(frozen=True, slots=True)
class ReduceScatter:
    """Member i gets block i along `dim` of the sum."""

    dim: int
    name: CollectiveKind = "reduce_scatter"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the blocks of the sums."""
        blocks = [np.split(total, len(members), axis=self.dim) for total in summed(members)]
        return [tuple(pieces) for pieces in zip(*blocks, strict=True)]

    def text(self) -> str:
        """Return the name and the dim."""
        return f"reduce_scatter(dim {self.dim})"


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Every member gets the root's operand."""

    root: int
    name: CollectiveKind = "broadcast"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return the root's arrays, once per member."""
        return [tuple(members[self.root]) for _ in members]

    def text(self) -> str:
        """Return the name and the root."""
        return f"broadcast(from {self.root})"


@dataclass(frozen=True, slots=True)
class Reduce:
    """``(x, target) -> target``: the root's target grows by the sum of x, the others' stay."""

    root: int
    name: CollectiveKind = "reduce"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's target."""
        total = sum(x for x, _ in members)
        return [
            (target + total if i == self.root else target,) for i, (_, target) in enumerate(members)
        ]

    def text(self) -> str:
        """Return the name and the root."""
        return f"reduce(to {self.root})"


@dataclass(frozen=True, slots=True)
class AllToAll:
    """Block j of member i along `split` becomes block i of member j along `concat`."""

    split: int
    concat: int
    name: CollectiveKind = "all_to_all"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return every member's received blocks."""
        n = len(members)
        cut = [[np.split(x, n, axis=self.split) for x in arrays] for arrays in members]
        operands = range(len(members[0]))
        return [
            tuple(
                np.concatenate([cut[i][o][j] for i in range(n)], axis=self.concat) for o in operands
            )
            for j in range(n)
        ]

    def text(self) -> str:
        """Return the name and both dims."""
        return f"all_to_all(dim {self.split} to {self.concat})"


@dataclass(frozen=True, slots=True)
class Shift:
    """Member i's operands go to member i + offset, round the ring."""

    offset: int = 1
    name: CollectiveKind = "shift"

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return what every member receives."""
        n = len(members)
        return [tuple(members[(i - self.offset) % n]) for i in range(n)]

    def text(self) -> str:
        """Return the name and the offset."""
        return f"shift({self.offset:+d})"


@dataclass(frozen=True, slots=True)
class Send:
    """A member's operands leave for the member `offset` places further: half a hop."""

    offset: int
    name: Literal["send"] = "send"

    def values(self, where: Where, *arrays: Array) -> tuple[Array, ...]:  # noqa: ARG002
        """Return what leaves."""
        return tuple(x.copy() for x in arrays)

    def text(self) -> str:
        """Return the name and the offset."""
        return f"send({self.offset:+d})"


@dataclass(frozen=True, slots=True)
class Receive:
    """What the member `offset` places further has sent arrives: the other half."""

    offset: int
    name: Literal["receive"] = "receive"

    def text(self) -> str:
        """Return the name and the offset."""
        return f"receive({self.offset:+d})"


def summed(members: Members) -> tuple[Array, ...]:
    """Return the sum over members of every operand."""
    return tuple(np.asarray(sum(xs)) for xs in zip(*members, strict=True))
