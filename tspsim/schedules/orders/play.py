"""Plays an order with given times: when each action runs, how long a rank waits, what it holds.

It knows neither devices nor links: a pass takes what its stage takes, and what goes to another rank
takes one time for all, in its own way. So it gives bounds in no time, and numbers that the
simulator's can be held against.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypeAlias

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.running import running

#: Which transfers go one after another.
Lanes: TypeAlias = Literal["unordered", "pair", "rank"]


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
        kind, stage = action.kind, action.stage
        if kind == "F":
            return self.forward[stage]
        if kind == "I":
            return self.input_gradient[stage]
        if kind == "W":
            return self.weight_gradients[stage]
        return self.input_gradient[stage] + self.weight_gradients[stage]


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


def play(order: Order, costs: Costs, lanes: Lanes = "unordered") -> Play:
    """Return when every action runs, each as soon as it can.

    Parameters
    ----------
    order : Order
        One that `check` accepts.
    costs : Costs
    lanes : {"unordered", "pair", "rank"}
        Which transfers wait for each other, in the order of `with_transfers`: none, those between
        the same two ranks, or all that a rank takes part in.
    """
    network = _Network(order, costs.message, lanes)
    ended: dict[Action, float] = {}
    rows: list[list[Played]] = [[] for _ in range(order.ranks)]
    for rank, step in running(order):
        end = rows[rank][-1].end if rows[rank] else 0.0
        for action, needed in order.awaits(step):
            away = order.placement[needed.stage] != order.placement[action.stage]
            end = max(end, (network.arrived if away else ended)[needed])
        for action in step:
            start, end = end, end + costs.of(action)
            ended[action.gives] = end
            network.send(action, end)
            rows[rank].append(Played(action, start, end))
    return Play(tuple(map(tuple, rows)))


class _Network:
    """When what is sent arrives, and until when lanes are taken."""

    def __init__(self, order: Order, message: float, lanes: Lanes) -> None:
        self.arrived: dict[Action, float] = {}
        self._order, self._message, self._lanes = order, message, lanes
        self._free: defaultdict[tuple[int, ...], float] = defaultdict(float)

    def send(self, action: Action, now: float) -> None:
        """Send what an action gives, if another rank needs it, once its lanes are free."""
        target = self._order.target(action)
        if target is None:
            return
        taken = self._taken(self._order.placement[action.stage], self._order.placement[target])
        end = max([now, *(self._free[lane] for lane in taken)]) + self._message
        self._free.update(dict.fromkeys(taken, end))
        self.arrived[action.gives] = end

    def _taken(self, rank: int, other: int) -> tuple[tuple[int, ...], ...]:
        if self._lanes == "unordered":
            return ()
        if self._lanes == "rank":
            return (rank,), (other,)
        return ((min(rank, other), max(rank, other)),)


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
