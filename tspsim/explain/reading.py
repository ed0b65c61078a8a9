"""What memory bandwidth reads on the path of a step of inference: weights, the cache, the rest."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from math import fsum
from typing import NamedTuple

from tspsim.engine.timeline import Timeline
from tspsim.explain.pieces import CriticalPath
from tspsim.mesh import Mesh
from tspsim.program.by_rank import work_of
from tspsim.program.types import Op, Operand
from tspsim.program.varying import of_rank

#: What is read: ``weights``, wherever they lie; ``cache``: keys and values that attention meets,
#: those gathered from other ranks included; ``activations``: all else.
KINDS = ("weights", "cache", "activations")
#: How a sentence says it.
SAID = {
    "weights": "reading weights",
    "cache": "reading the cache",
    "activations": "reading activations",
}


class Reading(NamedTuple):
    """What the stretches that memory bandwidth limits read and write, and what is launched.

    Attributes
    ----------
    seconds, bytes : Mapping of str to float
        By `KINDS`; an op's time is shared out by the bytes of its operands.
    kernels : int
        That the path goes over.
    launch : float
        Seconds that it takes to launch them.
    """

    seconds: Mapping[str, float]
    bytes: Mapping[str, float]
    kernels: int
    launch: float

    def rate(self, kind: str) -> float:
        """Return bytes per second; 0 where none are read."""
        return self.bytes[kind] / self.seconds[kind] if self.seconds[kind] else 0.0


def reading(path: CriticalPath, timeline: Timeline) -> Reading:
    """Return what is read on a critical path."""
    seconds, sizes = defaultdict[str, list[float]](list), defaultdict[str, list[float]](list)
    ranks = {piece.rank for piece in path.pieces}
    names = {rank: weight_names(timeline, rank) for rank in ranks}
    for piece in path.pieces:
        if piece.limit != "memory":
            continue
        rank = piece.rank
        for kind, share, amount in traffic(piece.op, timeline.mesh, rank, names[rank]):
            seconds[kind].append(share * (piece.end - piece.start))
            sizes[kind].append(amount)
    tasks = {(piece.rank, piece.op.index): piece for piece in path.pieces}.values()
    works = (work_of(piece.op, timeline.mesh, piece.rank) for piece in tasks)
    return Reading(
        {kind: fsum(seconds[kind]) for kind in KINDS},
        {kind: fsum(sizes[kind]) for kind in KINDS},
        sum(work.launches for work in works if work is not None and work.bytes),
        path.by(lambda piece: piece.limit).get("launch", 0.0),
    )


def weight_names(timeline: Timeline, rank: int) -> frozenset[str]:
    """Return what weights are called: those that travel lie in places of the same name."""
    return frozenset(b.name for b in timeline.programs.of(rank).buffers if b.kind == "weight")


def traffic(
    op: Op, mesh: Mesh, rank: int, weights: frozenset[str]
) -> Iterator[tuple[str, float, float]]:
    """Yield kinds, their shares of an op's traffic, and bytes of it.

    Of an operand that is larger than all the traffic a part is touched: rows of a table that are
    looked up, places of a cache that are written. It is as much as goes to or comes from there.

    Parameters
    ----------
    op : Op
    mesh : Mesh
    rank : int
    weights : frozenset of str
        What `weight_names` says of the rank.
    """
    work = work_of(op, mesh, rank)
    whole = work.bytes if work is not None else 0
    touched: Counter[str] = Counter()
    for kind, operand in _operands(op, weights):
        size = of_rank(operand.bytes, mesh, rank)
        touched[kind] += size if size <= whole else whole // 2
    total = sum(touched.values())
    for kind, size in touched.items():
        share = size / total if total else 0.0
        yield kind, share, share * whole


def _operands(op: Op, weights: frozenset[str]) -> Iterator[tuple[str, Operand]]:
    """Yield every operand of an op once, with its kind."""
    seen: set[Operand] = set()
    for number, operand in enumerate((*op.inputs, *op.outputs)):
        if operand not in seen:
            seen.add(operand)
            yield _kind(op, number, operand, weights), operand


def _kind(op: Op, number: int, operand: Operand, weights: frozenset[str]) -> str:
    buffer = operand.buffer
    if buffer.kind == "weight" or (buffer.kind == "workspace" and buffer.name in weights):
        return "weights"
    met = op.kind.name == "attention" and 0 < number < len(op.inputs)
    return "cache" if buffer.kind == "kv_cache" or met else "activations"
