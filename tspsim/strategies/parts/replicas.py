"""Data parallelism: what replicas of the model say to each other once per step.

Every replica sees other sequences, so the gradient of a weight is the sum over replicas. Gradients
are summed in buckets, in the order in which backward completes them: a bucket waits for nothing but
its own gradients and the bucket before it, so it overlaps with the rest of backward; or, without
that overlap, for all of backward.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext

from tspsim.files.errors import ProgramError
from tspsim.program.kinds.in_place import ShardedOptimizerStep, part
from tspsim.program.kinds.offload import HostCopy, HostStep
from tspsim.program.kinds.vocabulary import OptimizerStep
from tspsim.program.rank import Rank
from tspsim.program.types import Operand


def update(rank: Rank) -> None:
    """Record the end of a training step: gradients summed over replicas, weights updated.

    Where gradients are cut (zero 2), they have been summed group by group.

    Raises
    ------
    ProgramError
        When weights are to be gathered during forward, and the step did not `begin` with it.
    """
    rank.closes()
    if rank.zero < 2:
        _sum(rank)
    _step(rank)
    if rank.zero not in (1, 2):
        return
    if not rank.replication.overlap_weights:
        _gather(rank, rank.residents("weight"))
    elif not rank.opened:
        raise ProgramError("overlap_weights: this strategy does not begin its step with begin()")


def begin(rank: Rank, weights: Iterable[Operand]) -> None:
    """Record what a training step begins with: the gathering of weights that the last one updated.

    Only where it overlaps with forward. A layer waits for its own weights, so they are named in the
    order in which forward reads them.
    """
    if rank.trains and rank.replication.gathers_ahead(rank.members):
        _gather(rank, weights)
        rank.opens()


def _sum(rank: Rank) -> None:
    options = rank.replication
    issued = rank.hooked if options.overlap_gradients else nullcontext
    for bucket in _buckets(rank.gradients(), options.bucket):
        with issued(), rank.at(phase="backward", layer=bucket[-1].buffer.layer):
            if rank.zero:
                _scatter(rank, bucket)
            else:
                rank.replica_axis.all_reduce(*bucket, lane="gradients", label="gradients")


def _scatter(rank: Rank, bucket: Sequence[Operand]) -> None:
    """Sum a rank's own parts: over the group, then over whoever owns the same ones elsewhere."""
    options = rank.replication
    axis, label = rank.axis(options.inside), "gradients"
    axis.reduce_scatter_in_place(*bucket, lane="gradients", label=label)
    if options.outside is not None:
        own = sum(round(part(o.elements, axis.degree) * o.buffer.itemsize) for o in bucket)
        rank.axis(options.outside).all_reduce(*bucket, lane="gradients", label=label, size=own)


def _gather(rank: Rank, weights: Iterable[Operand]) -> None:
    axis = rank.axis(rank.replication.inside)
    for bucket in _buckets(weights, rank.replication.bucket):
        axis.all_gather_in_place(*bucket, lane="weights", label="weights")


def _step(rank: Rank) -> None:
    """Record the update of all weights that the rank is to update, in one op."""
    gradients, weights = rank.residents("gradient"), rank.residents("weight")
    states = rank.residents("optimizer")
    axes, parts = (rank.replication.inside, rank.members) if rank.zero in (1, 2) else ((), 1)
    kind: OptimizerStep = OptimizerStep(rank.optimizer.kind)
    if rank.zero:
        kind = ShardedOptimizerStep(rank.optimizer.kind, axes, parts, len(gradients))
    if rank.replication.offload:
        _host_step(rank, kind, parts)
        return
    outputs = [*weights, *states]
    if rank.optimizer.temporary:
        count = sum(part(w.elements, parts) for w in weights)
        outputs.append(rank.buffer("temporary", (count,), rank.optimizer.temporary))
    rank.compute(kind, (*gradients, *weights, *states), outputs, "step")


def _host_step(rank: Rank, kind: OptimizerStep, parts: int) -> None:
    """Record the same on the host: own gradients go down, own weights come up."""
    gradients, weights = rank.residents("gradient"), rank.residents("weight")
    count = sum(part(w.elements, parts) for w in weights)
    states = round(count * sum(itemsize for _, itemsize in rank.optimizer.states))
    down, up = (
        round(count * itemsize) for itemsize in (rank.optimizer.gradient, rank.optimizer.weight)
    )
    rank.compute(HostCopy(down), gradients, (), "gradients.down")
    rank.compute(HostStep(kind, states), (*gradients, *weights), weights, "step")
    rank.compute(HostCopy(up), weights, (), "weights.up")


def _buckets(operands: Iterable[Operand], size: float) -> Iterator[list[Operand]]:
    """Yield operands in order, in lists that are closed when they hold `size` bytes."""
    bucket: list[Operand] = []
    held = 0
    for operand in operands:
        bucket.append(operand)
        held += operand.bytes
        if held >= size:
            yield bucket
            bucket, held = [], 0
    if bucket:
        yield bucket
