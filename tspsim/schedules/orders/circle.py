"""Circles: actions that wait for each other, so that an order can never end."""

from __future__ import annotations

from collections.abc import Iterator

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order


def circle(order: Order) -> str | None:
    """Return the actions of an order that wait for each other, drawn in text; None: it can end.

    A send waits for nothing but what it sends: sends and receives may be issued in any order. The
    two actions of an overlapped pair begin together.

    Parameters
    ----------
    order : Order
        Every action in it once, each after what it needs of its own stage.
    """
    standstill = _Standstill(order)
    return standstill.drawn() if standstill.heads else None


class _Standstill:
    """How far an order gets, and why not further.

    Attributes
    ----------
    heads : dict of int to int
        By rank that does not end, the step of its row at which it stands.
    """

    def __init__(self, order: Order) -> None:
        self._order = order
        self._steps = [list(order.steps(rank)) for rank in range(order.ranks)]
        self._done: set[Action] = set()
        self._at = [0] * order.ranks
        while any(self._advance(rank) for rank in range(order.ranks)):
            pass
        self.heads = {r: at for r, at in enumerate(self._at) if at < len(self._steps[r])}

    def _advance(self, rank: int) -> bool:
        """Run what a rank can; say whether there was anything."""
        begun = self._at[rank]
        for step in self._steps[rank][begun:]:
            if next(self._missing(step), None):
                break
            self._done.update(action.gives for action in step)
            self._at[rank] += 1
        return self._at[rank] > begun

    def _missing(self, step: tuple[Action, ...]) -> Iterator[tuple[Action, Action]]:
        """Yield each action of a step with what it needs that is not there."""
        return (pair for pair in self._order.awaits(step) if pair[1] not in self._done)

    def drawn(self) -> str:
        """Return the circle: who waits for what, and behind what on its rank that stands."""
        links, rank = {}, min(self.heads)
        while rank not in links:
            action, needed = next(self._missing(self._head(rank)))
            links[rank] = action, needed
            rank = self._order.placement[needed.stage]
        ranks = list(links)[list(links).index(rank) :]
        lines = [line for r in ranks for line in self._link(r, *links[r])]
        return "\n".join([f"deadlock: {len(ranks)} ranks wait for each other in a circle", *lines])

    def _head(self, rank: int) -> tuple[Action, ...]:
        return self._steps[rank][self.heads[rank]]

    def _link(self, rank: int, action: Action, needed: Action) -> Iterator[str]:
        other = self._order.placement[needed.stage]
        row, head = self._order.rows[other], self._head(other)
        step = next(step for step, given in enumerate(row) if given.gives == needed)
        behind = "" if row[step] in head else f", behind {head[0]}"
        yield f"  rank {rank}, step {self._order.rows[rank].index(action)}: {action}"
        yield f"    waits for {row[step]}, step {step} of rank {other}{behind}"
