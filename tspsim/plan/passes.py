"""What one layer takes in a pass through a stage: recorded once, for every schedule and stage.

The layers of all stages are recorded by the same function, so a rank that holds two layers and both
ends of the model, and passes two or three micro-batches, has every pass that any stage has. How
long a layer takes alone is the longest path through it: from its first computation to its last.
"""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Literal, NamedTuple, TypeAlias, cast

from tspsim.mesh import DP
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.stages import Stages
from tspsim.program.types import Op, Program
from tspsim.schedules.orders.actions import Action, Kind
from tspsim.schedules.orders.order import Order
from tspsim.strategies.base import StrategyOptions

#: A layer, or one end of the model.
Place: TypeAlias = int | Literal["embedding", "head"]

LAYERS = 2
#: What every micro-batch of a recorded rank does: some backward in halves, that of `SPLIT`.
PASSES = (("F", "B"), ("F", "I", "W"), ("F", "B"))
SPLIT = 1
#: Where no schedule has halves; and forward alone.
WHOLE, FORWARD = (("F", "B"),) * 2, (("F",),) * 2


class Run(NamedTuple):
    """Computations that follow each other, in one pass and one place.

    Attributes
    ----------
    kind : str
        F, I, W or B.
    place : int or str
    micro_batch : int
    first, last : int
        Ops: the run's own first one, and that of the next run.
    """

    kind: str
    place: Place
    micro_batch: int
    first: int
    last: int


def record(
    strategy: StrategyOptions,
    model: ModelShape,
    workload: Workload,
    optimizer: Optimizer,
    passes: Sequence[Sequence[str]],
) -> Program:
    """Return the program of a rank that holds few layers and both ends of the model.

    Parameters
    ----------
    strategy : StrategyOptions
        With a pipeline; its schedule does not matter.
    model : ModelShape
    workload : Workload
    optimizer : Optimizer
    passes : sequence of sequence of str
        Of every micro-batch, one after another: F, then B or I and W.
    """
    assert strategy.pp is not None
    row = tuple(
        Action(cast("Kind", kind), 0, n) for n, kinds in enumerate(passes) for kind in kinds
    )
    order = Order((row, *((),) * (strategy.pp.stages - 1)), (0,), len(passes))
    stages = Stages(order, 0, (range(LAYERS),), row)
    few = dataclasses.replace(model.alike(model.kind(0)), layers=LAYERS)
    short = dataclasses.replace(workload, micro_batches=len(passes))
    rank = strategy.rank(few, short, optimizer, 0, stages)
    strategy.step(rank)
    return rank.program()


def runs(program: Program, split: int | None = None) -> list[Run]:
    """Return the runs of a recorded rank; `split`: the micro-batch whose backward has halves."""
    computed = [op for op in program.ops if not op.lane and op.phase != "optimizer"]
    found = []
    for number, ops in groupby(computed, key=lambda op: op.micro_batch):
        found += list(_of_micro_batch(list(ops), split=number == split))
    ends = [*(first for *_, first in found), computed[-1].index + 1]
    return [Run(*run, last) for run, last in zip(found, ends[1:], strict=True)]


def _of_micro_batch(ops: Sequence[Op], *, split: bool) -> Iterator[tuple[str, Place, int, int]]:
    """Yield kind, place, micro-batch and first op of every run."""
    seen: set[tuple[bool, int]] = set()
    back = "I" if split else "B"
    for (forward, layer), group in groupby(ops, key=lambda op: (op.phase == "forward", op.layer)):
        first = next(group)
        if layer is not None:
            if split and not forward and (forward, layer) in seen:
                back = "W"
            seen.add((forward, layer))
            kind, place = "F" if forward else back, layer
        else:
            kind, place = _of_end(seen, back, forward=forward, split=split)
        yield kind, place, first.micro_batch, first.index


def _of_end(
    seen: set[tuple[bool, int]], back: str, *, forward: bool, split: bool
) -> tuple[str, Place]:
    """Return the pass and the end of the model of computations in no layer."""
    if not seen:
        return "F", "embedding"
    if forward:
        return "F", "head"
    if (False, 0) not in seen:
        return back, "head"
    return ("W", "head" if back == "I" else "embedding") if split else ("B", "embedding")


class Costs(NamedTuple):
    """Seconds that one rank takes at least.

    Attributes
    ----------
    passes : dict of (str, int or str) to float
        Of a layer (0 stands for any), or an end of the model, by kind of pass.
    computed : dict of (str, int or str) to float
        What of these is computation.
    late : dict of str to float
        Of a layer whose backward is a pass's first, from when its gradient is there.
    lane : float
        Of all that one layer says in all passes of a micro-batch, on the busiest lane.
    """

    passes: dict[tuple[str, Place], float]
    computed: dict[tuple[str, Place], float]
    late: dict[str, float]
    lane: float


def costs(
    program: Program, made: Sequence[Run], before: Sequence[set[int]], seconds: Sequence[float]
) -> Costs:
    """Return what a rank takes whose ops take some seconds."""
    apart = {i for i, lane in enumerate(program.lanes) if DP in lane.axes}
    alone = [0.0 if op.lane in apart else seconds[op.index] for op in program.ops]
    passes: dict[tuple[str, Place], float] = {}
    computed: dict[tuple[str, Place], float] = {}
    late: dict[str, float] = {}
    place: Place
    for run in made:
        taken = busy = _added(program, alone, run)
        place = run.place
        if isinstance(place, int):
            taken, place = _longest(program, before, alone, run), 0
            behind = _longest(program, before, alone, _without_recompute(program, run))
            late[run.kind] = min(late.get(run.kind, behind), behind)
        key = run.kind, place
        passes[key] = min(passes.get(key, taken), taken)
        computed[key] = min(computed.get(key, busy), busy)
    return Costs(passes, computed, late, _lane(program, apart, seconds))


def _without_recompute(program: Program, run: Run) -> Run:
    """Return the run from the first computation on that is not done again."""
    ops = program.ops[run.first : run.last]
    own = (op.index for op in ops if not op.lane and op.phase != "recompute")
    return run._replace(first=next(own, run.first))


def _added(program: Program, seconds: Sequence[float], run: Run) -> float:
    return sum(seconds[op.index] for op in program.ops[run.first : run.last] if not op.lane)


def _longest(
    program: Program, before: Sequence[set[int]], seconds: Sequence[float], run: Run
) -> float:
    """Return the time from a run's first computation to the end of its last one."""
    end: dict[int, float] = {run.first: seconds[run.first]}
    longest = end[run.first]
    for op in range(run.first + 1, run.last):
        reached = [end[p] for p in before[op] if p in end]
        if reached:
            end[op] = max(reached) + seconds[op]
            if not program.ops[op].lane:
                longest = max(longest, end[op])
    return longest


def _lane(program: Program, apart: set[int], seconds: Sequence[float]) -> float:
    """Return what every layer says on some lane in every micro-batch, at least."""
    said: defaultdict[int, defaultdict[tuple[int, int], float]]
    said = defaultdict(lambda: defaultdict(float))
    there = {(op.layer, op.micro_batch) for op in program.ops if op.layer is not None}
    for op in program.ops:
        if op.lane and op.lane not in apart and op.layer is not None:
            said[op.lane][op.layer, op.micro_batch] += seconds[op.index]
    least = (min(each.get(key, 0.0) for key in there) for each in said.values())
    return max(least, default=0.0)


def of_layer(made: Sequence[Run], layer: int, micro_batch: int) -> dict[str, Run]:
    """Return the runs of a micro-batch in a layer, by kind."""
    own = (run for run in made if run.place == layer and run.micro_batch == micro_batch)
    return {run.kind: run for run in own}
