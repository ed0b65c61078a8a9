"""What a rank holds all the time, and what its optimizer step takes: of any number of layers.

Both grow evenly with the layers. So two recordings of a rank without any passes, with few layers,
tell them for all: the first says what a layer has, and what the ends of the model have.
"""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

from tspsim.program.stages import Stages
from tspsim.program.types import PerCoordinate, Program, Work
from tspsim.scenario.types import Scenario
from tspsim.schedules.orders.order import Order
from tspsim.strategies.base import StrategyOptions
from tspsim.topology.hardware import Roofline

#: The order of a rank that holds the whole model.
ALONE = Order(((),), (0,), 1)


class Standing(NamedTuple):
    """What a rank has beside its passes.

    Attributes
    ----------
    layer : float
        Resident bytes of a layer.
    ends : float
        Resident bytes of the ends of the model, those that the rank holds.
    """

    layer: float
    ends: float

    def bytes(self, layers: int) -> float:
        """Return the resident bytes of so many layers and the ends."""
        return self.ends + layers * self.layer


def standing(base: Scenario, strategy: StrategyOptions, order: Order, place: int) -> Standing:
    """Return what a place of an order holds all the time."""
    there = [b for b in _idle(base, strategy, order, place, 1).buffers if b.resident]
    layers = len({buffer.layer for buffer in there} - {None})
    inner = sum(buffer.bytes for buffer in there if buffer.layer is not None)
    return Standing(inner / layers, sum(b.bytes for b in there if b.layer is None))


class Update(NamedTuple):
    """The computations of an optimizer step: of few layers, and what each further layer adds."""

    layers: int
    few: tuple[Work, ...]
    more: tuple[tuple[float, float], ...]

    def seconds(self, layers: int, roofline: Roofline) -> float:
        """Return what they take of so many layers."""
        further = layers - self.layers
        grown = (
            work._replace(
                bytes=round(work.bytes + further * size), seconds=work.seconds + further * host
            )
            for work, (size, host) in zip(self.few, self.more, strict=True)
        )
        return sum(map(roofline.seconds, grown))


def update_of(base: Scenario, strategy: StrategyOptions, order: Order, place: int) -> Update:
    """Return the optimizer step of a place of an order."""
    count = len({order.part(stage) for stage in order.on(place)})
    few, more = (_steps(_idle(base, strategy, order, place, n)) for n in (1, 2))
    grown = (
        ((b.bytes - a.bytes) / count, (b.seconds - a.seconds) / count)
        for a, b in zip(few, more, strict=True)
    )
    return Update(count, few, tuple(grown))


def _steps(program: Program) -> tuple[Work, ...]:
    ops = (op for op in program.ops if op.phase == "optimizer" and not op.lane)
    works = (op.work.works[0] if isinstance(op.work, PerCoordinate) else op.work for op in ops)
    return tuple(work for work in works if work is not None)


def _idle(
    base: Scenario, strategy: StrategyOptions, order: Order, place: int, layers: int
) -> Program:
    """Return the program of a place without passes, so many layers in each of its parts."""
    workload = dataclasses.replace(base.workload, batch=1, micro_batches=1)
    split = tuple(range(n * layers, (n + 1) * layers) for n in range(order.depth))
    model = dataclasses.replace(base.model, layers=layers * order.depth)
    rank = strategy.rank(model, workload, base.optimizer, place, Stages(order, place, split, ()))
    strategy.step(rank)
    return rank.program()
