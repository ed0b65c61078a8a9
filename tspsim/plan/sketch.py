"""A step of a few layers, from which those of the whole model follow.

A decoder's layers are recorded one after another by the same function, and so are micro-batches: a
program of L layers and m micro-batches is one of two layers and at most two micro-batches with the
second layer and the first micro-batch repeated. What is added up over such a sketch, with each
piece counted as often as it is repeated, is exactly what the whole program holds.

Of layers that differ a sketch has those of the first kind: whoever asks about time asks for each.

Where ranks play several roles, layers and micro-batches are dealt out among them in an order of the
schedule's own: then nothing is left out, and the sketch is the whole step.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, TypeVar

from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.program.by_expert import EXPERTS
from tspsim.program.residents import made_for
from tspsim.program.types import Buffer, Op, Program, Programs
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.replicas import update

T = TypeVar("T")

#: Layers and micro-batches that a sketch has at most.
FEW = 2


class Anchor(NamedTuple):
    """The first compute op of a layer's forward, or of its backward.

    Attributes
    ----------
    op : int
    layer, micro_batch : int
    forward : bool
    """

    op: int
    layer: int
    micro_batch: int
    forward: bool


@dataclass(frozen=True, slots=True, eq=False)
class Sketch:
    """The programs of a step with few layers and micro-batches, and how often each is repeated.

    Parameters
    ----------
    programs : Programs
    end : Programs or None
        What replicas say to each other once per step, and the optimizer step: of the whole model.
        None in the forward phase, and of a whole step.
    layers, micro_batches : int
        Of the sketch.
    more_layers, more_micro_batches : int
        Further ones of the whole step.
    """

    programs: Programs
    end: Programs | None
    layers: int
    micro_batches: int
    more_layers: int
    more_micro_batches: int

    @property
    def whole(self) -> bool:
        """Whether nothing of the step is left out."""
        return len(self.programs.roles) > 1

    @property
    def anchors(self) -> list[Anchor]:
        """Return where the layers begin, in the order of the one program that all ranks play."""
        seen: dict[tuple[int, int, bool], int] = {}
        (program,) = self.programs.roles
        for op in program.ops:
            if not op.lane and op.layer is not None and op.phase != "optimizer":
                seen.setdefault((op.layer, op.micro_batch, op.phase == "forward"), op.index)
        found = [Anchor(index, *key) for key, index in seen.items()]
        assert found == sorted(found)  # micro-batches and layers come one after another
        return found

    def times(self, op: Op) -> int:
        """Return how often an op of the sketch stands in the whole program."""
        return self.layer_times(op.layer) * self.batch_times(op.micro_batch)

    def layer_times(self, layer: int | None) -> int:
        """Return how many layers a layer of the sketch stands for: the last one for all others."""
        return 1 + self.more_layers if layer == self.layers - 1 else 1

    def batch_times(self, micro_batch: int) -> int:
        """Return how many micro-batches one stands for: the first one for all but the last."""
        return 1 + self.more_micro_batches if micro_batch == 0 else 1


def sketch(
    strategy: StrategyOptions, model: ModelShape, workload: Workload, optimizer: Optimizer
) -> Sketch:
    """Record the sketch of a step."""
    return ended(passes(strategy, model, workload, optimizer), strategy, model, workload, optimizer)


def passes(
    strategy: StrategyOptions, model: ModelShape, workload: Workload, optimizer: Optimizer
) -> Sketch:
    """Record the sketch of a step without its end."""
    mesh = strategy.mesh()
    if any(strategy.role(mesh, rank) for rank in range(mesh.ranks)):
        every = strategy.record(model, workload, optimizer)
        return Sketch(every, None, model.layers, workload.micro_batches, 0, 0)
    layers, batches = min(model.layers, FEW), min(workload.micro_batches, FEW)
    few = dataclasses.replace(model.alike(model.kind(0)), layers=layers)
    short = dataclasses.replace(workload, micro_batches=batches)
    programs = strategy.record(few, short, optimizer)
    more = model.layers - layers, workload.micro_batches - batches
    return Sketch(programs, None, layers, batches, *more)


def ended(
    made: Sketch,
    strategy: StrategyOptions,
    model: ModelShape,
    workload: Workload,
    optimizer: Optimizer,
) -> Sketch:
    """Return a sketch with what is done once per step, which takes long to record."""
    if made.whole or workload.phase != "train":
        return made
    rank = strategy.rank(model, workload, optimizer)
    for buffer in _residents(made):
        with rank.at(layer=buffer.layer):
            held = rank.resident(buffer.name, buffer.shape, buffer.itemsize, buffer.kind)
        own = made_for(buffer, EXPERTS)
        rank.replicated(held, rank.experts_replication if own else rank.replication)
    update(rank)
    end = Programs((rank.program(),), (0,) * strategy.mesh().ranks)
    return dataclasses.replace(made, end=end)


def _residents(made: Sketch) -> Iterator[Buffer]:
    """Yield what the end of the model's step finds, gradients in the order of their last write."""
    (program,) = made.programs.roles
    by_kind = {
        kind: [b for b in program.buffers if b.lasting and b.kind == kind]
        for kind in ("gradient", "weight", "optimizer")
    }
    written = last_writes(program)
    by_kind["gradient"].sort(key=lambda buffer: written.get(buffer.index, -1))
    for buffers in by_kind.values():
        yield from repeated(buffers, lambda buffer: buffer.layer, made.layer_times)


def last_writes(program: Program) -> dict[int, int]:
    """Return, by buffer, the op that writes it last, not counting what is done once per step."""
    return {
        operand.buffer.index: op.index
        for op in program.ops
        if program.between(op)
        for operand in op.outputs
    }


def repeated(
    items: Iterable[T], layer: Callable[[T], int | None], times: Callable[[int | None], int]
) -> Iterator[T]:
    """Yield items in order, those of one layer after another as often as the layer is repeated."""
    for number, group in groupby(items, key=layer):
        together = list(group)
        for _ in range(times(number)):
            yield from together
