"""Memory that a candidate cannot do without, from its sketch alone.

While a compute op runs, every buffer is alive that some op before it wrote and some op behind it
reads, whatever the timing. What is prefetched comes on top, so the peak is never lower. Seen from
the last layer, those before it all keep the same: one of the sketch stands for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.plan.alike import FEW, sizes
from tspsim.plan.passes import Run, turns
from tspsim.plan.sketch import Sketch
from tspsim.program.types import NO_WORK, PerCoordinate, Program


@dataclass(frozen=True, slots=True, eq=False)
class _Lives:
    """Between which ops of the compute lane a buffer is certainly alive; both ends included."""

    birth: NDArray[np.intp]
    death: NDArray[np.intp]


def least_memory(made: Sketch) -> float:
    """Return bytes that some rank of the whole step has alive at some moment, at least."""
    return max(_of_role(made, program) for program in made.programs.roles)


def _of_role(made: Sketch, program: Program) -> float:
    size = sizes(program)
    resident = np.array([buffer.resident for buffer in program.buffers], dtype=np.bool_)
    layer = np.array([-1 if b.layer is None else b.layer for b in program.buffers])
    inner = np.flatnonzero(~resident)
    lives = _lives(program)
    alive = _alive(program, lives, inner, size)
    if made.layers > 1 and not made.whole:
        # What the layer before the last one keeps while the last one is being worked on.
        kept = ~resident & (layer == made.layers - 2) & _kept(made, program, lives)
        repeated = _alive(program, lives, np.flatnonzero(kept), size)
        alive += made.more_layers * np.where(_in_last_layer(made, program), repeated, 0.0)
    layers = [None if n < 0 else n for n in layer.tolist()]
    times = np.array([1 if made.whole else made.layer_times(n) for n in layers])
    always = float((size * times)[resident].sum())
    return always + float(alive[_takes_time(program)].max(initial=0.0))


class Held(NamedTuple):
    """What a layer of a pipeline's stage has alive, at least.

    Attributes
    ----------
    kept : float
        Bytes of activations that one pass keeps from forward until backward.
    more : float
        What comes to it while the layer's own backward runs.
    """

    kept: float
    more: float


def held(program: Program, made: Sequence[Run]) -> Held:
    """Return what a layer has alive, of a rank with every pass (`passes.record`).

    Where layers differ, it is the least of any.
    """
    lives, size, passed = _lives(program), sizes(program), turns(made)
    kept, most = [], []
    for layer, (forward, back) in enumerate(passed):
        inner = [b for b in program.buffers if not b.resident and b.layer == layer]
        own = np.array([b.index for b in inner if b.kind == "activation"], dtype=np.intp)
        if layer + 1 < len(passed) and forward != back:
            # While the next layer is worked on.
            then, behind = passed[layer + 1]
            there = (lives.birth[own] <= then.first) & (lives.death[own] >= behind.first)
            kept.append(float(size[own[there]].sum()))
        if not layer and len(passed) == FEW:
            continue  # the other one is like it, and has more alive
        every = np.array([buffer.index for buffer in inner], dtype=np.intp)
        alive = np.where(_takes_time(program), _alive(program, lives, every, size), 0.0)
        most.append(float(alive[back.first : back.last].max(initial=0.0)))
    least = min(kept, default=0.0)
    return Held(least, max(0.0, min(most) - least))


def _lives(program: Program) -> _Lives:
    """Return the span of ops over which every buffer is certainly alive, by op index."""
    count = len(program.buffers)
    birth = np.full(count, len(program.ops), dtype=np.intp)
    death = np.full(count, -1, dtype=np.intp)
    written = {operand.buffer.index for op in program.ops for operand in op.outputs}
    for op, waits in zip(program.ops, program.waits, strict=True):
        # Communication that reads a buffer begins after the compute that it waits for.
        last = op.index
        if op.lane:
            last = max((w for w in waits if not program.ops[w].lane), default=-1)
        for operand in (*op.inputs, *op.outputs):
            index = operand.buffer.index
            if not op.lane:
                birth[index] = min(birth[index], op.index)
            if index not in written:
                birth[index] = 0  # an input: there from the start
            death[index] = max(death[index], last)
    return _Lives(birth, death)


def _alive(
    program: Program, lives: _Lives, buffers: NDArray[np.intp], size: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Return the bytes of some buffers that are alive during every op of the compute lane."""
    change = np.zeros(len(program.ops) + 2)
    there = buffers[lives.birth[buffers] <= lives.death[buffers]]
    np.add.at(change, lives.birth[there], size[there])
    np.add.at(change, lives.death[there] + 1, -size[there])
    return np.asarray(change.cumsum()[: len(program.ops)])


def _kept(made: Sketch, program: Program, lives: _Lives) -> NDArray[np.bool_]:
    """Return which buffers are alive from the last layer's forward until its backward begins.

    Of the layer before it, that is what some backward still reads; its output that the last layer
    alone reads is none of it, as the layers before it have no such thing alive.
    """
    turns = {(a.micro_batch, a.forward): a.op for a in made.anchors if a.layer == made.layers - 1}
    kept = np.zeros(len(program.buffers), dtype=np.bool_)
    for batch in range(made.micro_batches):
        if (batch, False) in turns:
            begin, back = turns[batch, True], turns[batch, False]
            kept |= (lives.birth <= begin) & (lives.death >= back)
    return kept


def _in_last_layer(made: Sketch, program: Program) -> NDArray[np.bool_]:
    """Return which ops are done while the last layer is worked on, forward or backward."""
    inside, now = [], False
    for op in program.ops:
        if not op.lane and op.layer is not None and op.phase != "optimizer":
            now = op.layer == made.layers - 1
        inside.append(now)
    return np.array(inside, dtype=np.bool_)


def _takes_time(program: Program) -> NDArray[np.bool_]:
    """Return which ops are computations that take time: a moment without length has no peak."""
    timed = []
    for op in program.ops:
        work = op.work.works[0] if isinstance(op.work, PerCoordinate) else op.work
        timed.append(op.message is None and work is not None and work[:2] != NO_WORK[:2])
    return np.array(timed, dtype=np.bool_)
