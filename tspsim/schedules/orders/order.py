"""Orders: what every rank of a pipeline runs, in which order, and what waits for what."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

from tspsim.schedules.orders.actions import Action, Pair

#: What the rows of an order are made of.
Row: TypeAlias = Iterable[Action | Pair]


@dataclass(frozen=True, slots=True)
class Order:
    """The actions of every rank of a pipeline, in the order in which it runs them.

    A micro-batch goes through the stages of its pipeline, from the first to the last and back. In
    almost every schedule there is one pipeline, and all micro-batches go through all stages. A
    bidirectional schedule (DualPipe) has two, in opposite directions over the same ranks: stage
    ``s + depth`` holds the same layers as stage ``s``, on another rank, and each pipeline takes one
    half of the micro-batches. All that this asks of who runs an order: `route` says which stages a
    micro-batch goes through, and stages of one `part` hold one set of layers, whose gradients are
    summed between them.

    Parameters
    ----------
    rows : tuple of tuple of Action
        By rank.
    placement : tuple of int
        The rank that each stage lies on.
    microbatches : int
    pipelines : int
        Copies of the layers; the stages of a pipeline follow each other.
    overlapped : frozenset of Action
        Actions that run as one with the one that follows them: forwards, with a backward.
    """

    rows: tuple[tuple[Action, ...], ...]
    placement: tuple[int, ...]
    microbatches: int
    pipelines: int = 1
    overlapped: frozenset[Action] = field(default=frozenset())

    @property
    def ranks(self) -> int:
        """Return the number of ranks."""
        return len(self.rows)

    @property
    def stages(self) -> int:
        """Return the number of stages, those of all pipelines."""
        return len(self.placement)

    @property
    def depth(self) -> int:
        """Return how many stages a micro-batch goes through: the parts of the layers."""
        return len(self.placement) // self.pipelines

    def part(self, stage: int) -> int:
        """Return which part of the layers a stage holds, from 0 to `depth` - 1."""
        return stage % self.depth

    def on(self, rank: int) -> tuple[int, ...]:
        """Return the stages that lie on a rank, in ascending order."""
        return tuple(stage for stage, place in enumerate(self.placement) if place == rank)

    def route(self, microbatch: int) -> range:
        """Return the stages that a micro-batch goes through, from the first to the last."""
        first = microbatch * self.pipelines // self.microbatches * self.depth
        return range(first, first + self.depth)

    def needs(self, action: Action) -> tuple[Action, ...]:
        """Return what must be there before an action, in the terms of `Action.gives`.

        A forward needs the stage before; an input gradient its own forward, and the input gradient
        of the stage after; the weight gradients need the input gradient.
        """
        kind, stage, microbatch = action
        if kind == "F":
            return (Action("F", stage - 1, microbatch),) if self.part(stage) else ()
        if kind == "W":
            return (Action("I", stage, microbatch),)
        own = Action("F", stage, microbatch)
        return (own, Action("I", stage + 1, microbatch)) if self.part(stage + 1) else (own,)

    def target(self, action: Action) -> int | None:
        """Return the stage on another rank that needs what an action gives; None: none does."""
        kind, stage, _ = action
        if kind == "W":
            return None
        forward = kind == "F"
        if not self.part(stage + 1 if forward else stage):
            return None  # the last stage's loss, the first one's input
        other = stage + 1 if forward else stage - 1
        return None if self.placement[other] == self.placement[stage] else other

    def awaits(self, step: tuple[Action, ...]) -> Iterator[tuple[Action, Action]]:
        """Yield each action of a step with what it needs that the step does not give itself."""
        for action in step:
            for needed in self.needs(action):
                if needed not in step:
                    yield action, needed

    def steps(self, rank: int) -> Iterator[tuple[Action, ...]]:
        """Yield what a rank runs at once: an action, or an overlapped pair."""
        row = iter(self.rows[rank])
        for action in row:
            yield (action, next(row)) if action in self.overlapped else (action,)

    def __str__(self) -> str:
        """Return the text form: a line for each rank, ``0F0 0F1 0B0 0B1``."""
        return "\n".join(
            " ".join(str(Pair(*step) if len(step) > 1 else step[0]) for step in self.steps(rank))
            for rank in range(self.ranks)
        )


def order_of(
    rows: Iterable[Row], placement: tuple[int, ...], microbatches: int, pipelines: int = 1
) -> Order:
    """Return the order of rows in which a pair stands for its two actions."""
    written = [tuple(row) for row in rows]
    pairs = frozenset(x.forward for row in written for x in row if isinstance(x, Pair))
    flat = tuple(
        tuple(a for x in row for a in (x if isinstance(x, Pair) else (x,))) for row in written
    )
    return Order(flat, placement, microbatches, pipelines, pairs)


def loop(ranks: int, chunks: int) -> tuple[int, ...]:
    """Return the ranks of stages that go round: stage s lies on rank ``s % ranks``."""
    return tuple(range(ranks)) * chunks


def fold(ranks: int) -> tuple[int, ...]:
    """Return the ranks of two stages each that go down and up again, in the shape of a V."""
    return (*range(ranks), *reversed(range(ranks)))
