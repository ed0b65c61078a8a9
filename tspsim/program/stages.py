"""The stages of a pipeline as one of its ranks sees them: layers, and the order of its passes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.ahead import Step
from tspsim.schedules.orders.order import Order, order_of

#: Which sends and receives of a rank follow each other: all of them, those with one other rank, or
#: those in one direction.
Streams = Literal["rank", "pair", "direction"]


class Recorded(NamedTuple):
    """Which ops of a program an action was recorded as.

    Attributes
    ----------
    action : Action
    first, stop : int
        From the first of the ops to before the last one's next.
    """

    action: Action
    first: int
    stop: int


@dataclass(frozen=True, slots=True)
class Stages:
    """What a role of a pipeline does.

    Parameters
    ----------
    order : Order
    place : int
        The role's rank in it.
    layers : tuple of range
        Of every part of the model that stages hold.
    steps : tuple of Action or Transfer
        Of the role: its actions, sends and receives, in issue order.
    streams : {"rank", "pair", "direction"}
        What sends and receives wait for beside their data.
    overlap : bool
        Compute goes on while activations and gradients travel between stages.
    """

    order: Order
    place: int
    layers: tuple[range, ...]
    steps: tuple[Step, ...]
    streams: Streams = "pair"
    overlap: bool = True

    @property
    def mine(self) -> tuple[int, ...]:
        """The stages that the role holds."""
        return self.order.on(self.place)

    @property
    def parts(self) -> tuple[int, ...]:
        """The parts of the model that these are."""
        return tuple(dict.fromkeys(self.order.part(stage) for stage in self.mine))

    @property
    def held(self) -> tuple[int, ...]:
        """The layers of these parts, in the order of the model."""
        return tuple(sorted(layer for part in self.parts for layer in self.layers[part]))

    def of(self, stage: int) -> range:
        """Return the layers of a stage."""
        return self.layers[self.order.part(stage)]

    def ends(self, stage: int) -> tuple[bool, bool]:
        """Return whether a stage holds the model's first layer, and whether its last."""
        part = self.order.part(stage)
        return part == 0, part == self.order.depth - 1

    @property
    def in_turn(self) -> bool:
        """Whether every stage computes weight gradients in the order of its input gradients."""
        row = self.order.rows[self.place]
        of = {kind: [(a.stage, a.microbatch) for a in row if a.kind == kind] for kind in "IW"}
        return all(
            [m for s, m in of["I"] if s == stage] == [m for s, m in of["W"] if s == stage]
            for stage in self.mine
        )

    @property
    def last(self) -> dict[int, int]:
        """By stage: the micro-batch whose weight gradients it adds last."""
        row = self.order.rows[self.place]
        return {action.stage: action.microbatch for action in row if action.kind in "WB"}


def whole(layers: int, micro_batches: int) -> Stages:
    """Return the one stage of a rank that holds all layers: forward and backward in turn."""
    row = [Action(kind, 0, number) for number in range(micro_batches) for kind in ("F", "B")]
    order = order_of([row], (0,), micro_batches)
    return Stages(order, 0, (range(layers),), order.rows[0])
