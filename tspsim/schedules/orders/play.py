"""Plays an order with given times: when each action runs, how long a rank waits, what it holds.

It knows neither devices nor links: a pass takes what its stage takes, and what goes to another rank
takes one time for all, in its own way. So it gives bounds in no time, and numbers that the
simulator's can be held against.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order


@dataclass(frozen=True, slots=True)
class Costs:
    """How long the passes of each stage take, in seconds or any other unit.

    Parameters
    ----------
    forward, input_gradient, weight_gradients : tuple of float
        By stage. A whole backward takes the sum of the last two, a pair that of all three.
    message : float
        From the end of a pass until another rank has what it gives.
    """

    forward: tuple[float, ...]
    input_gradient: tuple[float, ...]
    weight_gradients: tuple[float, ...]
    message: float = 0.0

    def of(self, action: Action) -> float:
        """Return the time of an action."""
        forward, inner, weights = (
            times[action.stage]
            for times in (self.forward, self.input_gradient, self.weight_gradients)
        )
        return {"F": forward, "I": inner, "W": weights, "B": inner + weights}[action.kind]


def equal(stages: int, f: float, i: float, w: float, message: float = 0.0) -> Costs:
    """Return the costs of stages that are all alike."""
    return Costs((f,) * stages, (i,) * stages, (w,) * stages, message)


class Played(NamedTuple):
    """One action, and when it began and ended."""

    action: Action
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Play:
    """When everything ran.

    Parameters
    ----------
    rows : tuple of tuple of Played
        By rank.
    """

    rows: tuple[tuple[Played, ...], ...]

    @property
    def span(self) -> float:
        """Return the time from the first action to the end of the last one, over all ranks."""
        return max(row[-1].end for row in self.rows) - min(row[0].start for row in self.rows)

    def busy(self, rank: int) -> float:
        """Return the time in which a rank computes."""
        return sum(played.end - played.start for played in self.rows[rank])

    def bubble(self, rank: int) -> float:
        """Return the time of the step in which a rank does not compute."""
        return self.span - self.busy(rank)

    def window(self, rank: int) -> float:
        """Return the time from a rank's first action to the end of its last one.

        Where the ranks' optimizer steps need not begin together, the longest of these is what a
        step takes: one step's end overlaps the start of the next (arXiv:2401.10241, section 4).
        """
        row = self.rows[rank]
        return row[-1].end - row[0].start


def play(order: Order, costs: Costs) -> Play:
    """Return when every action runs, each as soon as it can.

    Parameters
    ----------
    order : Order
        One that `check` accepts.
    costs : Costs
    """
    ended: dict[Action, float] = {}
    rows: list[list[Played]] = [[] for _ in range(order.ranks)]
    waiting = [order.steps(rank) for rank in range(order.ranks)]
    heads = {rank: next(steps) for rank, steps in enumerate(waiting)}
    while heads:
        for rank, step in list(heads.items()):
            while step and all(needed in ended for _, needed in order.awaits(step)):
                rows[rank].extend(_run(order, costs, step, rows[rank], ended))
                step = next(waiting[rank], ())
            if step:
                heads[rank] = step
            else:
                del heads[rank]
    return Play(tuple(map(tuple, rows)))


def _run(
    order: Order,
    costs: Costs,
    step: tuple[Action, ...],
    before: list[Played],
    ended: dict[Action, float],
) -> Iterator[Played]:
    """Yield the actions of a step, which begins when all that they need has arrived."""
    start = before[-1].end if before else 0.0
    for action, needed in order.awaits(step):
        away = order.placement[needed.stage] != order.placement[action.stage]
        start = max(start, ended[needed] + (costs.message if away else 0.0))
    for action in step:
        end = ended[action.gives] = start + costs.of(action)
        yield Played(action, start, end)
        start = end


def held(order: Order, rank: int, until: Literal["I", "W"] = "W") -> int:
    """Return how many stages' activations of a micro-batch a rank holds at most.

    Parameters
    ----------
    order : Order
    rank : int
    until : {"I", "W"}
        Which of the two halves of backward is the last one to read them.
    """
    now = most = 0
    for action in order.rows[rank]:
        now += {"F": 1, "B": -1, until: -1}.get(action.kind, 0)
        most = max(most, now)
    return most
