"""Data parallelism: what replicas of the model say to each other once per step.

Every replica sees other sequences, so the gradient of a weight is the sum over replicas. Gradients
are summed in buckets, in the order in which backward completes them: a bucket waits for nothing but
its own gradients and the bucket before it, so it overlaps with the rest of backward; or, without
that overlap, for all of backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import nullcontext

from tspsim.files.errors import ProgramError
from tspsim.mesh import DP
from tspsim.program.kind import ComputeKind
from tspsim.program.kinds.in_place import ShardedOptimizerStep, part
from tspsim.program.kinds.vocabulary import OptimizerStep
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


def update(rank: Rank) -> None:
    """Record the end of a training step: gradients summed over replicas, weights updated.

    The collectives are recorded here, but where they overlap with backward a hook issues each when
    its last gradient is written.

    Raises
    ------
    ProgramError
        When weights are to be gathered during forward, and the step did not `begin` with it.
    """
    replicas, options = rank.axis(DP), rank.replication
    sharded = options.shards(replicas.degree)
    reduce = replicas.reduce_scatter_in_place if sharded else replicas.all_reduce
    issued = rank.hooked if options.overlap_gradients else nullcontext
    for bucket in _buckets(rank.gradients(), options.bucket):
        with issued(), rank.at(phase="backward", layer=bucket[-1].buffer.layer):
            reduce(*bucket, lane="gradients", label="gradients")
    _step(rank, replicas.degree if sharded else 1)
    if sharded and not options.overlap_weights:
        _gather(rank, rank.residents("weight"))
    elif sharded and not rank.opened:
        raise ProgramError("overlap_weights: this strategy does not begin its step with begin()")


def begin(rank: Rank, weights: Iterable[Operand]) -> None:
    """Record what a training step begins with: the gathering of weights that the last one updated.

    Only where it overlaps with forward. A layer waits for its own weights, so they are named in the
    order in which forward reads them.
    """
    if rank.trains and rank.replication.gathers_ahead(rank.replicas):
        _gather(rank, weights)
        rank.opens()


def _gather(rank: Rank, weights: Iterable[Operand]) -> None:
    for bucket in _buckets(weights, rank.replication.bucket):
        rank.axis(DP).all_gather_in_place(*bucket, lane="weights", label="weights")


def _step(rank: Rank, parts: int) -> None:
    """Record the update of all weights, or of the rank's own of so many parts, in one op."""
    gradients, weights = rank.residents("gradient"), rank.residents("weight")
    states = rank.residents("optimizer")
    kind: ComputeKind = OptimizerStep(rank.optimizer.kind)
    if parts > 1:
        kind = ShardedOptimizerStep(rank.optimizer.kind, DP, parts, len(gradients))
    outputs = [*weights, *states]
    if rank.optimizer.temporary:
        count = sum(part(w.elements, parts) for w in weights)
        outputs.append(rank.buffer("temporary", (count,), rank.optimizer.temporary))
    rank.compute(kind, (*gradients, *weights, *states), outputs, "step")


def _buckets(operands: Iterable[Operand], size: float) -> Iterator[list[Operand]]:
    """Yield operands in order, in lists that are closed when they hold `size` bytes."""
    bucket: list[Operand] = []
    for operand in operands:
        bucket.append(operand)
        if sum(o.bytes for o in bucket) >= size:
            yield bucket
            bucket = []
    if bucket:
        yield bucket
