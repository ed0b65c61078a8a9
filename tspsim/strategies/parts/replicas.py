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
from tspsim.program.replicas import Replication
from tspsim.program.types import BufferKind, Operand

_UPDATED: tuple[BufferKind, ...] = ("weight", "optimizer")


def update(rank: Rank) -> None:
    """Record the end of a training step: gradients summed over replicas, weights updated.

    Where gradients are cut (zero 2), they have been summed group by group.

    Raises
    ------
    ProgramError
        When weights are to be gathered during forward, and the step did not `begin` with it.
    """
    rank.closes()
    for replication in rank.replications:
        _Replicas(rank, replication).update()


def begin(rank: Rank, weights: Iterable[Operand]) -> None:
    """Record what a training step begins with: the gathering of weights that the last one updated.

    Only where it overlaps with forward. A layer waits for its own weights, so they are named in the
    order in which forward reads them.
    """
    if not rank.trains:
        return
    operands = list(weights)
    for replication in rank.replications:
        replicas = _Replicas(rank, replication)
        if replication.gathers_ahead(replicas.axis.degree):
            own = {o.buffer.index for o in rank.residents("weight", replication)}
            replicas.gather([o for o in operands if o.buffer.index in own])
            rank.opens()


class _Replicas:
    """Those ranks that hold the same weights.

    Parameters
    ----------
    rank : Rank
    options : Replication
    """

    def __init__(self, rank: Rank, options: Replication) -> None:
        self.rank, self.options = rank, options
        self.axis, self.zero = rank.axis(options.inside), rank.zero_of(options)

    def update(self) -> None:
        """Record the end of a step for their weights."""
        if self.zero < 2:
            self._sum()
        self._step()
        if self.zero not in (1, 2):
            return
        if not self.options.overlap_weights:
            self.gather(self.rank.residents("weight", self.options))
        elif not self.rank.opened:
            raise ProgramError(
                "overlap_weights: this strategy does not begin its step with begin()"
            )

    def _sum(self) -> None:
        rank, options = self.rank, self.options
        issued = rank.hooked if options.overlap_gradients else nullcontext
        for bucket in _buckets(rank.gradients(options), options.bucket):
            with issued(), rank.at(phase="backward", layer=bucket[-1].buffer.layer):
                if self.zero:
                    self._scatter(bucket)
                else:
                    self.axis.all_reduce(*bucket, lane="gradients", label="gradients")

    def _scatter(self, bucket: Sequence[Operand]) -> None:
        """Sum a rank's own parts: over the group, then over whoever owns the same elsewhere."""
        axis, label = self.axis, "gradients"
        axis.reduce_scatter_in_place(*bucket, lane="gradients", label=label)
        if self.options.outside is not None:
            own = sum(round(part(o.elements, axis.degree) * o.buffer.itemsize) for o in bucket)
            outside = self.rank.axis(self.options.outside)
            outside.all_reduce(*bucket, lane="gradients", label=label, size=own)

    def gather(self, weights: Iterable[Operand]) -> None:
        """Record that updated weights come."""
        for bucket in _buckets(weights, self.options.bucket):
            self.axis.all_gather_in_place(*bucket, lane="weights", label="weights")

    def _step(self) -> None:
        """Record the update of all weights that the rank is to update, in one op."""
        rank, options = self.rank, self.options
        gradients = rank.residents("gradient", options)
        weights, states = (rank.residents(kind, options) for kind in _UPDATED)
        if not weights:
            return
        cut = self.zero in (1, 2)
        axes, parts = (options.inside, self.axis.degree) if cut else ((), 1)
        kind: OptimizerStep = OptimizerStep(rank.optimizer.kind)
        if self.zero:
            kind = ShardedOptimizerStep(rank.optimizer.kind, axes, parts, len(gradients))
        if options.offload:
            _host_step(rank, kind, parts, gradients, weights)
            return
        outputs = [*weights, *states]
        if rank.optimizer.temporary:
            count = sum(part(w.elements, parts) for w in weights)
            outputs.append(rank.buffer("temporary", (count,), rank.optimizer.temporary))
        rank.compute(kind, (*gradients, *weights, *states), outputs, "step")


def _host_step(
    rank: Rank,
    kind: OptimizerStep,
    parts: int,
    gradients: Sequence[Operand],
    weights: Sequence[Operand],
) -> None:
    """Record the same on the host: own gradients go down, own weights come up."""
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
