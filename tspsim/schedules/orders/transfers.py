"""Sends and receives of an order, in the places in which torch puts them.

``torch.distributed.pipelining`` (2.13): a send follows the pass whose result it is, and its receive
stands in the other rank's row wherever that one is when the ranks take turns. So any two ranks have
the transfers between them in one order, which a communicator asks for. But a rank that has all its
transfers in one order may have to receive what it needs late before what it needs soon.
"""

from __future__ import annotations

from typing import NamedTuple

from tspsim.schedules.orders.actions import Action, Pair
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.running import running


class Transfer(NamedTuple):
    """One half of what goes from one rank to another.

    Attributes
    ----------
    sends : bool
        The half of the rank that has it; else of the one that gets it.
    forward : bool
        Activations, to the stage after; else a gradient, to the stage before.
    stage, microbatch : int
        The stage is that of the half's own rank.
    """

    sends: bool
    forward: bool
    stage: int
    microbatch: int

    @property
    def of(self) -> Action:
        """The pass whose result travels, a backward as I."""
        back = 0 if self.sends else -1 if self.forward else 1
        return Action("F" if self.forward else "I", self.stage + back, self.microbatch)

    def peer(self, order: Order) -> int:
        """Return the rank at the other end."""
        onward = 1 if self.forward == self.sends else -1
        return order.placement[self.stage + onward]

    def __str__(self) -> str:
        """Return torch's text form: ``0SEND_F3``."""
        kind = f"{'SEND' if self.sends else 'RECV'}_{'F' if self.forward else 'B'}"
        return f"{self.stage}{kind}{self.microbatch}"


def with_transfers(order: Order) -> tuple[tuple[Action | Pair | Transfer, ...], ...]:
    """Return the rows of an order with their sends and receives.

    Parameters
    ----------
    order : Order
        One that `check` accepts.
    """
    rows: list[list[Action | Pair | Transfer]] = [[] for _ in range(order.ranks)]
    for rank, step in running(order):
        rows[rank].append(Pair(*step) if len(step) > 1 else step[0])
        for action in step:
            target = order.target(action)
            if target is not None:
                forward, microbatch = action.kind == "F", action.microbatch
                rows[rank].append(Transfer(True, forward, action.stage, microbatch))
                receive = Transfer(False, forward, target, microbatch)
                rows[order.placement[target]].append(receive)
    return tuple(map(tuple, rows))
