"""The stages of a pipeline as one of its ranks sees them: layers, and the order of its passes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.ahead import Step
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.transfers import Transfer

#: Which sends and receives of a rank follow each other: all of them, those with one other rank, or
#: those in one direction.
Streams = Literal["rank", "pair", "direction"]

#: Passes of one rank that are issued in turn where there is no pipeline: two forwards, and two
#: backwards; or the forward of a micro-batch and the backward of the one before.
AtOnce = Literal["two_batches", "forward_backward"]


class Recorded(NamedTuple):
    """A stretch of ops that an action was recorded as: all, or a part where two take turns.

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
    interleaved : bool
        The two passes of an overlapped pair are issued in turn, not one after the other.
    """

    order: Order
    place: int
    layers: tuple[range, ...]
    steps: tuple[Step, ...]
    streams: Streams = "pair"
    overlap: bool = True
    interleaved: bool = True

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

    def turns(self) -> Iterator[Transfer | tuple[Action, ...]]:
        """Yield transfers, and what is issued in turn: an action, or a pair.

        A receive that stands within a pair comes before it.
        """
        begun: tuple[Action, ...] = ()
        for step in self.steps:
            if isinstance(step, Transfer):
                yield step
            elif begun or not (self.interleaved and step in self.order.overlapped):
                yield (*begun, step)
                begun = ()
            else:
                begun = (step,)

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


def whole(layers: int, micro_batches: int, at_once: AtOnce | None = None) -> Stages:
    """Return the one stage of a rank that holds all layers.

    Parameters
    ----------
    layers, micro_batches : int
    at_once : {"two_batches", "forward_backward"}, optional
        Which passes are issued in turn; none when not given: forward and backward of each
        micro-batch, one after the other.
    """
    row = _row(micro_batches, at_once)
    pairs = frozenset(step[0] for step in row if len(step) > 1)
    flat = tuple(action for step in row for action in step)
    order = Order((flat,), (0,), micro_batches, overlapped=pairs)
    return Stages(order, 0, (range(layers),), flat)


def _row(micro_batches: int, at_once: AtOnce | None) -> list[tuple[Action, ...]]:
    """Return what is done at once, in order."""
    forwards, backwards = (
        [Action(kind, 0, number) for number in range(micro_batches)] for kind in ("F", "B")
    )
    if at_once == "two_batches":
        ways = [[*zip(row[::2], row[1::2], strict=True)] for row in (forwards, backwards)]
        return [pair for pairs in zip(*ways, strict=True) for pair in pairs]
    if at_once == "forward_backward":
        pairs = zip(forwards[1:], backwards, strict=False)
        return [(forwards[0],), *pairs, (backwards[-1],)]
    return [(action,) for pair in zip(forwards, backwards, strict=True) for action in pair]
