"""Runs an order without time: what can run before what, and where it comes to a standstill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order

#: What a rank runs at once: an action, or an overlapped pair.
Step: TypeAlias = tuple[Action, ...]

#: Turns that a rank lets pass after the last pass of a stage: torch's runtime then reduces the
#: stage's gradients, and frees its weights.
PAUSE = 2


def running(order: Order) -> Iterator[tuple[int, Step]]:
    """Yield ranks and steps, each after all that it needs, until nothing more can run.

    The ranks take turns, one step each, and who cannot yet is passed over. That is how the runtime
    of ``torch.distributed.pipelining`` (2.13) finds where sends and receives stand, when a rank has
    at most three stages.
    """
    waiting = [order.steps(rank) for rank in range(order.ranks)]
    heads = [next(steps, ()) for steps in waiting]
    left = Counter(action.stage for row in order.rows for action in row)
    pauses = [0] * order.ranks
    done: set[Action] = set()
    moved = True
    while moved:
        moved = False
        for rank, step in enumerate(heads):
            if pauses[rank]:
                pauses[rank] -= 1
            elif step and all(needed in done for _, needed in order.awaits(step)):
                yield rank, step
                for action in step:
                    done.add(action.gives)
                    left[action.stage] -= 1
                    pauses[rank] += 0 if left[action.stage] else PAUSE
                heads[rank] = next(waiting[rank], ())
            else:
                continue
            moved = True
