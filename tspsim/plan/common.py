"""What candidates have in common that differ in replicas, what these share, and stages.

Passes through a layer do not know how many replicas or stages there are. Of what replicas share
they know this alone: where weights lie that they read, where gradients are added up, and what is
gathered or reduced between. So what a rank computes, says on the strategy's own axes and keeps for
backward is the same for all of them, and nothing takes less than where nothing is gathered, and
weights and gradients are read and written for nothing.
"""

from __future__ import annotations

import dataclasses

from tspsim.program.types import Op, PerCoordinate, Program, Programs, Work
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.stages import Pipeline

#: Buffers that are of another type, or in parts, where they are shared.
_SHARED = frozenset({"weight", "gradient"})
#: Replicas and stages of what is recorded: some, where there are any.
FEW = 2
_NOTHING = {"placement": None, "overlap_weights": False, "pp": Pipeline(stages=FEW)}


def recorded(strategy: StrategyOptions, zero: int | None = None) -> StrategyOptions:
    """Return what is recorded for all strategies that differ in replicas, stages and placement.

    Parameters
    ----------
    strategy : StrategyOptions
    zero : int, optional
        What is shared; where nothing is said, what stands for everything: whoever shares sums once
        per step, so with ``zero: 1`` nothing of it is between the passes.
    """
    few = strategy.model_copy(update={"dp": min(strategy.dp, FEW), "shard": None, **_NOTHING})
    return few.model_copy(update={"zero": int(few.sharers > 1) if zero is None else zero})


def without_schedule(strategy: StrategyOptions) -> StrategyOptions:
    """Return a strategy of whose pipeline nothing is left but the stages."""
    pp = strategy.pp and Pipeline(stages=strategy.pp.stages)
    return strategy.model_copy(update={"pp": pp, "placement": None})


def least_work(programs: Programs) -> Programs:
    """Return programs to whose ops weights and gradients are no traffic."""
    return Programs(tuple(map(_lightened, programs.roles)), programs.role_of_rank)


def _lightened(program: Program) -> Program:
    known: dict[tuple[int, int], Work | PerCoordinate | None] = {}
    ops = []
    for op in program.ops:
        less = _traffic(op) if op.work is not None else 0
        if less:
            key = id(op.work), less
            if key not in known:
                known[key] = _reduced(op.work, less)
            ops.append(op._replace(work=known[key]))
        else:
            ops.append(op)
    return dataclasses.replace(program, ops=tuple(ops))


def _traffic(op: Op) -> int:
    sides = (*op.inputs, *op.outputs)
    return sum(int(operand.bytes) for operand in sides if operand.buffer.kind in _SHARED)


def _reduced(work: Work | PerCoordinate | None, less: int) -> Work | PerCoordinate | None:
    if isinstance(work, PerCoordinate):
        return work._replace(works=tuple(_less(each, less) for each in work.works))
    return work and _less(work, less)


def _less(work: Work, less: int) -> Work:
    return work._replace(bytes=max(0, work.bytes - less))
