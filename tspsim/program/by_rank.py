"""What ranks that share a program do differently: work, messages and sizes by coordinate."""

from __future__ import annotations

from functools import lru_cache
from itertools import chain

from tspsim.mesh import Mesh, names_of
from tspsim.program.columns import columns_of, once
from tspsim.program.remembered import remembered
from tspsim.program.types import Lane, Message, Op, PerCoordinate, Program, Work
from tspsim.program.varying import Varying, axes_in


@remembered
def axes_of(program: Program) -> tuple[str, ...]:
    """Return the axes whose coordinates a program tells apart: by work, messages or sizes."""
    columns = columns_of(program)
    works = {work.axis for work in columns.works if isinstance(work, PerCoordinate)}
    axes = {name for axis in works for name in names_of(axis)}
    axes.update(axes_in(message.bytes for message in columns.messages if message is not None))
    for buffer in once(program.buffers):
        axes.update(axes_in(buffer.shape))
    return tuple(sorted(axes))


@lru_cache(maxsize=256)
def differing(program: Program, axis: str) -> frozenset[tuple[object, ...]] | None:
    """Return what of a program differs along an axis: every such thing by coordinate.

    None where something differs along this axis and others as one.
    """
    columns = columns_of(program)
    works = (work for work in columns.works if isinstance(work, PerCoordinate))
    messages = (message.bytes for message in columns.messages if message is not None)
    shapes = (size for buffer in once(program.buffers) for size in buffer.shape)
    varying = (size for size in chain(messages, shapes) if isinstance(size, Varying))
    found: set[tuple[object, ...]] = set()
    by_coordinate = chain(((w.axis, w.works) for w in works), ((s.axis, s.sizes) for s in varying))
    for axes, values in by_coordinate:
        if axis in names_of(axes):
            if len(names_of(axes)) > 1:
                return None
            found.add(values)
    return frozenset(found)


def work_of(op: Op, mesh: Mesh, rank: int) -> Work | None:
    """Return what a compute op asks of a rank's device; None for communication."""
    return _at_place(op.work, mesh, rank)


def _at_place(work: Work | PerCoordinate | None, mesh: Mesh, rank: int) -> Work | None:
    if isinstance(work, PerCoordinate):
        return work.works[mesh.coordinate(rank, work.axis)]
    return work


def works_of(program: Program, mesh: Mesh, rank: int) -> list[Work | None]:
    """Return the distinct works of a program, as a rank has them: see `Columns.works`."""
    return [_at_place(work, mesh, rank) for work in columns_of(program).works]


def received(message: Message, lane: Lane, mesh: Mesh, rank: int) -> float:
    """Return the bytes that a rank receives by a message: see `Message.received`.

    By a hop it is what its sender has; by a collective, what the rank's own size says.
    """
    ranks = lane.members(mesh, rank)
    sender = rank
    if message.hop and message.collective != "send":
        way = -message.offset if message.collective == "shift" else message.offset
        sender = ranks[(ranks.index(rank) + way) % len(ranks)]
    return message.of_rank(mesh, sender).received(len(ranks))
