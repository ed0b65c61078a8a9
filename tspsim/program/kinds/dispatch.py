"""Rows that travel to the ranks of their experts and back, and lie there expert by expert."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tspsim.mesh import Axes, Mesh
from tspsim.program.kinds.base import Array, Where, elementwise
from tspsim.program.kinds.communication import Members
from tspsim.program.types import CollectiveKind, Operand, Work


@dataclass(frozen=True, slots=True)
class Exchange:
    """An all-to-all of unequal blocks of rows: to the ranks of experts, or back.

    Parameters
    ----------
    blocks : tuple of tuple of int
        How many rows a member sends to every member (back: gets from it); all send alike. By
        coordinate of `axes`, where that makes a difference.
    axes : str, tuple of str or None
    back : bool
    """

    blocks: tuple[tuple[int, ...], ...]
    axes: Axes | None = None
    back: bool = False
    name: CollectiveKind = "all_to_all"

    @property
    def returning(self) -> Exchange:
        """The same, back."""
        return replace(self, back=True)

    def of_rank(self, mesh: Mesh, rank: int) -> Exchange:
        """Return it as the communicator of a rank has it."""
        blocks = self.blocks[Where(mesh, rank).coordinate(self.axes)]
        return replace(self, blocks=(blocks,), axes=None)

    def exchange(self, members: Members) -> list[tuple[Array, ...]]:
        """Return what every member receives, sender by sender."""
        everyone, operands = range(len(members)), range(len(members[0]))
        cut = [[self._cut(x, len(members)) for x in theirs] for theirs in members]
        return [
            tuple(np.concatenate([cut[s][o][r] for s in everyone]) for o in operands)
            for r in everyone
        ]

    def _cut(self, rows: Array, members: int) -> list[Array]:
        """Return what goes to every member."""
        return np.split(rows, members if self.back else np.cumsum(self.blocks[0])[:-1])

    def text(self) -> str:
        """Return the name and the way."""
        return f"all_to_all(rows {'back' if self.back else 'to experts'})"


@dataclass(frozen=True, slots=True)
class Arrange:
    """Rows that lie sender by sender, and within each expert by expert: all of an expert together.

    Parameters
    ----------
    counts : tuple of tuple of int
        Of one sender: the rows of every expert here, by coordinate of `axes`.
    senders : int
    axes : str, tuple of str or None
    back : bool
        The other way round.
    """

    counts: tuple[tuple[int, ...], ...]
    senders: int
    axes: Axes | None = None
    back: bool = False
    name = "arrange"

    def work(self, inputs: tuple[Operand, ...], outputs: tuple[Operand, ...]) -> Work:
        """Return that every row is moved once."""
        return elementwise(inputs, outputs)

    def values(self, where: Where, rows: Array) -> tuple[Array, ...]:
        """Return the rows in the other order."""
        counts = self.counts[where.coordinate(self.axes)]
        expert = np.tile(np.repeat(np.arange(len(counts)), counts), self.senders)
        order = np.argsort(expert, kind="stable")
        if not self.back:
            return (rows[order],)
        out = np.empty_like(rows)
        out[order] = rows
        return (out,)

    def text(self) -> str:
        """Return the name and the way."""
        return f"arrange(by {'sender' if self.back else 'expert'})"
