"""Checks an order before it runs: every action once, on its rank, in a legal order, and it can end.

It refuses what ``torch.distributed.pipelining`` (2.13) refuses when it validates an order and
places sends and receives, and what torch does not count: an action twice, a micro-batch that is not
there.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator

from tspsim.files.errors import UserError
from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.circle import circle
from tspsim.schedules.orders.order import Order

#: Messages of one refusal; what is wrong with one action is often wrong with many.
MOST = 8


class OrderError(UserError):
    """An order that cannot run: says which rank, step and action, and what is allowed."""


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
    if wrong := first_of(faults(order)):
        raise OrderError("\n".join(f"{name}: {line}" for line in wrong))
    if stuck := circle(order):
        raise OrderError(f"{name}: {stuck}")


def first_of(lines: Iterator[str]) -> list[str]:
    """Return the first lines of a refusal, and how many there are beside them."""
    first = list(itertools.islice(lines, MOST))
    more = sum(1 for _ in lines)
    return [*first, f"and {more} more"] if more else first


def faults(order: Order) -> Iterator[str]:
    """Yield what is wrong with the actions of an order, each with its place."""
    wrong = list(_misplaced(order))
    yield from wrong
    if not wrong:
        yield from _uncounted(order)
        yield from _early(order)


def _at(rank: int, step: int, action: Action) -> str:
    return f"rank {rank}, step {step}: {action}"


def _misplaced(order: Order) -> Iterator[str]:
    """Yield the actions that this pipeline does not have, or has on another rank."""
    for rank, row in enumerate(order.rows):
        for step, action in enumerate(row):
            if why := _unfit(order, rank, action):
                yield f"{_at(rank, step, action)}: {why}"


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


def _uncounted(order: Order) -> Iterator[str]:
    """Yield the passes that an order has twice, or lacks."""
    count = Counter(action for row in order.rows for action in row)
    for microbatch in range(order.microbatches):
        for stage in order.route(microbatch):
            place = f"stage {stage}, micro-batch {microbatch}"
            f, i, w, b = (count[Action(kind, stage, microbatch)] for kind in ("F", "I", "W", "B"))
            if f != 1:
                yield f"{place}: {f} times F; there must be one"
            if (i, w, b) not in ((0, 0, 1), (1, 1, 0)):
                found = f"{i} times I, {w} W and {b} B"
                yield f"{place}: {found}; there must be one B, or one I and one W"


def _early(order: Order) -> Iterator[str]:
    """Yield the actions that come before something of their own stage that they need."""
    seen: set[Action] = set()
    for rank, row in enumerate(order.rows):
        for step, action in enumerate(row):
            for needed in order.needs(action):
                if needed.stage == action.stage and needed not in seen:
                    yield f"{_at(rank, step, action)} comes before {needed}"
            seen.add(action.gives)
