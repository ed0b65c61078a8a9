"""Weights that two stages hold alike: a tied table, the layers of a bidirectional pipeline.

Each holder adds up the gradients of its own micro-batches, so before the step they are summed: an
all-reduce between two ranks, which is an exchange and a sum.
"""

from __future__ import annotations

from collections.abc import Iterable

from tspsim.mesh import PP
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


def sum_with(rank: Rank, operands: Iterable[Operand], offset: int, label: str) -> None:
    """Add to operands what the rank `offset` places further along the pipeline has of them."""
    axis, slots = rank.axis(PP), rank.slots(2)
    for mine in operands:
        theirs = rank.buffer(label, mine.shape, mine.buffer.itemsize, "workspace", slots)
        axis.send(mine, lane="copies", label=label, offset=offset)
        axis.receive(theirs, lane="copies", label=label, offset=offset)
        rank.add(theirs, to=mine, label=label)


def sum_copies(rank: Rank, operands: Iterable[Operand]) -> None:
    """Sum what the two pipelines of a bidirectional schedule hold alike, on mirrored ranks."""
    order, place = rank.stages.order, rank.stages.place
    if order.pipelines > 1:
        sum_with(rank, operands, order.ranks - 1 - 2 * place, "copies")
