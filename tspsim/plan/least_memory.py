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

from tspsim.plan.passes import LAYERS, SPLIT, Run, of_layer
from tspsim.plan.sizes import sizes
from tspsim.plan.sketch import Sketch
from tspsim.program.types import NO_WORK, PerCoordinate, Program


@dataclass(frozen=True, slots=True, eq=False)
class _Lives:
    """Between which ops of the compute lane a buffer is certainly alive; both ends included."""

    birth: NDArray[np.intp]
    death: NDArray[np.intp]


def least_memory(made: Sketch) -> float:
    """Return bytes that some rank of the whole step has alive at some moment, at least."""
    return max(_always(made, p) + _passing(made, p) for p in made.programs.roles)


def _always(made: Sketch, program: Program) -> float:
    """Return the bytes that are resident."""
    there = [buffer for buffer in program.buffers if buffer.resident]
    if made.whole:
        return float(sum(buffer.bytes for buffer in there))
    return float(sum(buffer.bytes * made.layer_times(buffer.layer) for buffer in there))


def _passing(made: Sketch, program: Program) -> float:
    """Return the bytes of the other buffers that are alive during some op."""
    size = sizes(program)
    resident = np.array([buffer.resident for buffer in program.buffers], dtype=np.bool_)
    layer = np.array([-1 if b.layer is None else b.layer for b in program.buffers])
    lives = _lives(program)
    alive = _alive(program, lives, np.flatnonzero(~resident), size)
    if made.layers > 1 and not made.whole:
        # What the layer before the last one keeps while the last one is being worked on.
        kept = ~resident & (layer == made.layers - 2) & _kept(made, program, lives)
        repeated = _alive(program, lives, np.flatnonzero(kept), size)
        alive += made.more_layers * np.where(_in_last_layer(made, program), repeated, 0.0)
    return float(alive[_takes_time(program)].max(initial=0.0))


class Held(NamedTuple):
    """What a layer has alive, at least.

    Attributes
    ----------
    kept : float
        Bytes of activations that one pass keeps from forward until backward.
    halved : float
        What one pass keeps between the two halves of its backward.
    more : float
        What comes to `kept` while the layer's own backward runs, or forward alone: of this size
        of micro-batch, as some of it grows with that, and what backward lets go meanwhile does too.
    """

    kept: float = 0.0
    halved: float = 0.0
    more: float = 0.0

    def times(self, more: float) -> Held:
        """Return what is alive of larger micro-batches, without that they are recorded."""
        return Held(more * self.kept, more * self.halved)


def held(program: Program, made: Sequence[Run]) -> Held:
    """Return what a layer has alive, of a rank with every pass (`passes.record`)."""
    lives, size = _lives(program), sizes(program)
    first, last = (of_layer(made, layer, 0) for layer in (0, LAYERS - 1))
    own, there = (_of_layer(program, layer) for layer in (0, LAYERS - 1))
    alive = np.where(_takes_time(program), _alive(program, lives, np.flatnonzero(there), size), 0.0)
    if "B" not in first:
        return Held(more=float(alive[last["F"].first : last["F"].last].max(initial=0.0)))
    halved, halves = 0.0, of_layer(made, 0, SPLIT)
    if "I" in halves:
        between = own & _through(lives, halves["I"].last - 1, halves["W"].first)
        halved = float(size[between].sum())
    own = own & np.array([buffer.kind == "activation" for buffer in program.buffers])
    kept = float(size[own & _through(lives, last["F"].first, last["B"].first)].sum())
    most = float(alive[last["B"].first : last["B"].last].max(initial=0.0))
    return Held(kept, halved, max(0.0, most - kept))


class Gathered(NamedTuple):
    """What of a layer stays from micro-batch to micro-batch where replicas share.

    Attributes
    ----------
    begun : float
        Bytes from the first forward on: gathered weights.
    added : float
        Bytes from the first backward on: gradients that are added up whole.
    """

    begun: float = 0.0
    added: float = 0.0


def gathered(program: Program, made: Sequence[Run]) -> Gathered:
    """Return what of a layer stays, of a rank with every pass."""
    first, then = (of_layer(made, 0, number) for number in (0, SPLIT + 1))
    if "B" not in first:
        return Gathered()
    lives, size = _lives(program), sizes(program)
    stays = _of_layer(program, 0) & (lives.death >= then["F"].first)
    begun = stays & (lives.birth < first["B"].first)
    added = stays & (lives.birth < first["B"].last) & ~begun
    return Gathered(float(size[begun].sum()), float(size[added].sum()))


def _of_layer(program: Program, layer: int) -> NDArray[np.bool_]:
    """Return which buffers are a layer's, and not there all the time."""
    return np.array([b.layer == layer and not b.resident for b in program.buffers])


def _through(lives: _Lives, first: int, last: int) -> NDArray[np.bool_]:
    """Return which buffers are alive from one op to another."""
    return (lives.birth <= first) & (lives.death >= last)


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
