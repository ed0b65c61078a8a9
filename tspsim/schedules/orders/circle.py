"""Circles: actions that wait for each other, so that an order can never end."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.running import Step, running


def circle(order: Order) -> str | None:
    """Return the actions of an order that wait for each other, drawn in text; None: it can end.

    Parameters
    ----------
    order : Order
        Every action in it once, each after what it needs of its own stage.
    """
    ended = [0] * order.ranks
    done: set[Action] = set()
    for rank, step in running(order):
        ended[rank] += 1
        done.update(action.gives for action in step)
    steps = [list(order.steps(rank))[at:] for rank, at in enumerate(ended)]
    heads = {rank: left[0] for rank, left in enumerate(steps) if left}
    return _Standstill(order, heads, done).drawn() if heads else None


class _Standstill:
    """The steps at which ranks stand, and what has been done."""

    def __init__(self, order: Order, heads: dict[int, Step], done: set[Action]) -> None:
        self._order, self._heads, self._done = order, heads, done

    def drawn(self) -> str:
        """Return the circle: who waits for what, and behind what on its rank that stands."""
        links, rank = {}, min(self._heads)
        while rank not in links:
            waits = self._order.awaits(self._heads[rank])
            links[rank] = next(link for link in waits if link[1] not in self._done)
            rank = self._order.placement[links[rank][1].stage]
        ranks = list(links)[list(links).index(rank) :]
        lines = [line for r in ranks for line in self._link(r, *links[r])]
        return "\n".join([f"deadlock: {len(ranks)} ranks wait for each other in a circle", *lines])

    def _link(self, rank: int, action: Action, needed: Action) -> Iterator[str]:
        other = self._order.placement[needed.stage]
        row, head = self._order.rows[other], self._heads[other]
        step = next(step for step, given in enumerate(row) if given.gives == needed)
        behind = "" if row[step] in head else f", behind {head[0]}"
        yield f"  rank {rank}, step {self._order.rows[rank].index(action)}: {action}"
        yield f"    waits for {row[step]}, step {step} of rank {other}{behind}"
