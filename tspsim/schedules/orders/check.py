"""Checks an order before it runs: every action once, on its rank, in a legal order, and it can end.

It refuses what ``torch.distributed.pipelining`` (2.13) refuses when it validates an order and
places sends and receives, and what torch does not count: an action twice, a micro-batch that is not
there.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from tspsim.files.errors import UserError
from tspsim.schedules.orders.actions import KINDS, Action
from tspsim.schedules.orders.circle import circle
from tspsim.schedules.orders.order import Order

#: Messages of one refusal; what is wrong with one action is often wrong with many.
MOST = 8


class Fault(NamedTuple):
    """One thing that is wrong with an order, and where in it.

    Attributes
    ----------
    message : str
    rank, step : int, optional
        None where it is wrong as a whole, or the rank's row is.
    """

    message: str
    rank: int | None = None
    step: int | None = None

    def __str__(self) -> str:
        """Return the message behind its place: ``rank 0, step 3: ...``."""
        if self.rank is None:
            return self.message
        step = "" if self.step is None else f", step {self.step}"
        return f"rank {self.rank}{step}: {self.message}"


class OrderError(UserError):
    """An order that cannot run: says which rank, step and action, and what is allowed.

    Parameters
    ----------
    faults : tuple of Fault
    lines : iterable of str, optional
        Them as messages, where these know more than rank and step.
    """

    def __init__(self, faults: tuple[Fault, ...], lines: Iterable[str] = ()) -> None:
        self.faults = faults
        super().__init__("\n".join(lines or map(str, faults)))


def check(order: Order, name: str = "schedule") -> None:
    """Raise unless an order can run.

    Parameters
    ----------
    order : Order
    name : str
        What it is called in messages.

    Raises
    ------
    OrderError
        With the first things that are wrong, one line each, or the circle of actions that wait for
        each other.
    """
    wrong = faults(order)
    if wrong:
        raise OrderError(wrong, [f"{name}: {fault}" for fault in wrong])


def faults(order: Order) -> tuple[Fault, ...]:
    """Return what is wrong with an order: its actions, or else the circle in which they wait."""
    if wrong := [*_misplaced(order)] or [*_uncounted(order), *_early(order)]:
        return first_of(wrong)
    stuck = circle(order)
    return (Fault(stuck),) if stuck else ()


def first_of(wrong: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the first faults by their place, and how many there are beside them."""
    placed = sorted(wrong, key=lambda f: (-1 if f.rank is None else f.rank, f.step or 0))
    first, more = placed[:MOST], len(placed) - MOST
    rest = [first[-1]._replace(message=f"and {more} more")] if more > 0 else []
    return (*first, *rest)


def _misplaced(order: Order) -> Iterator[Fault]:
    """Yield the actions that this pipeline does not have, or has on another rank."""
    for rank, row in enumerate(order.rows):
        for step, action in enumerate(row):
            if why := _unfit(order, rank, action):
                yield Fault(f"{action}: {why}", rank, step)


def _unfit(order: Order, rank: int, action: Action) -> str | None:
    _, stage, microbatch = action
    if stage >= order.stages:
        return f"stage {stage}; there are {order.stages}, 0 to {order.stages - 1}"
    if microbatch >= order.microbatches:
        last = order.microbatches - 1
        return f"micro-batch {microbatch}; there are {last + 1}, 0 to {last}"
    if order.placement[stage] != rank:
        return f"stage {stage} lies on rank {order.placement[stage]}"
    if stage not in order.route(microbatch):
        first, *_, last = order.route(microbatch)
        return f"micro-batch {microbatch} goes through stages {first} to {last}"
    return None


def _uncounted(order: Order) -> Iterator[Fault]:
    """Yield the passes that an order has twice, or lacks: where the last of them is, if any."""
    count: Counter[Action] = Counter()
    where: dict[tuple[bool, int, int], int] = {}
    for row in order.rows:
        for step, action in enumerate(row):
            count[action] += 1
            where[action.kind == "F", action.stage, action.microbatch] = step
    for microbatch in range(order.microbatches):
        for stage in order.route(microbatch):
            f, i, w, b = (count[Action(kind, stage, microbatch)] for kind in KINDS)
            rank, place = order.placement[stage], f"stage {stage}, micro-batch {microbatch}"
            if f != 1:
                message = f"{place}: {f} times F; there must be one"
                yield Fault(message, rank, where.get((True, stage, microbatch)))
            if (i, w, b) not in ((0, 0, 1), (1, 1, 0)):
                found = f"{i} times I, {w} W and {b} B"
                message = f"{place}: {found}; there must be one B, or one I and one W"
                yield Fault(message, rank, where.get((False, stage, microbatch)))


def _early(order: Order) -> Iterator[Fault]:
    """Yield the actions that come before something of their own stage that they need."""
    seen: set[Action] = set()
    for rank, row in enumerate(order.rows):
        for step, action in enumerate(row):
            for needed in order.needs(action):
                if needed.stage == action.stage and needed not in seen:
                    yield Fault(f"{action} comes before {needed}", rank, step)
            seen.add(action.gives)
