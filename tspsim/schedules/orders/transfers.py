"""Where an order's sends and receives stand among its actions."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from tspsim.files.errors import UserError
from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order


class Transfer(NamedTuple):
    """One end of a message between two stages: activations forward, or their gradients back.

    Attributes
    ----------
    way : {"send", "receive"}
    of : Action
        Whose result travels: a forward, or an input gradient.
    stage : int
        The stage that needs it.
    rank : int
        The rank at the other end.
    """

    way: Literal["send", "receive"]
    of: Action
    stage: int
    rank: int


#: What a rank does, in issue order.
Step: TypeAlias = Action | Transfer


def placed(order: Order) -> tuple[tuple[Step, ...], ...]:
    """Return every rank's actions with its sends and receives among them.

    All ranks are played at one pace, an action each in turn where what it needs has come; a send
    stands behind the action whose result it carries, and its receive where the other rank is at
    that moment (as ``torch.distributed.pipelining`` 2.13 places them). So all transfers have one
    order that both their ends keep, and streams in order cannot wait for each other in a circle.

    Raises
    ------
    UserError
        When the order can never end.
    """
    rows: list[list[Step]] = [[] for _ in order.rows]
    left = [list(reversed(row)) for row in order.rows]
    there: set[Action] = set()
    while any(left):
        moved = False
        for rank, row in enumerate(left):
            if row and all(need in there for need in order.needs(row[-1])):
                action = row.pop()
                rows[rank].append(action)
                there.add(action.gives)
                _transfer(order, rank, action, rows)
                moved = True
        if not moved:
            stuck = ", ".join(str(row[-1]) for row in left if row)
            raise UserError(f"the schedule cannot end: {stuck} wait for each other")
    return tuple(map(tuple, rows))


def _transfer(order: Order, rank: int, action: Action, rows: list[list[Step]]) -> None:
    """Let the result of an action travel to the rank that needs it, if that is another one."""
    stage = follower(order, action)
    if stage is None or order.placement[stage] == rank:
        return
    other = order.placement[stage]
    rows[rank].append(Transfer("send", action.gives, stage, other))
    rows[other].append(Transfer("receive", action.gives, stage, rank))


def ahead(order: Order, rows: tuple[tuple[Step, ...], ...]) -> tuple[tuple[Step, ...], ...]:
    """Return rows in which every receive stands before the action that precedes its reader.

    So a message travels while the action before runs (Megatron-Core's ``overlap_p2p_comm`` issues
    its receives so). What one rank sends to another in one direction is received in the order in
    which it is sent. Streams that carry anything else may wait for each other in a circle.
    """
    return tuple(_ahead(order, rank, rows) for rank in range(order.ranks))


def _ahead(order: Order, rank: int, rows: tuple[tuple[Step, ...], ...]) -> tuple[Step, ...]:
    mine = [step for step in rows[rank] if not _receives(step)]
    actions = [step for step in mine if isinstance(step, Action)]
    readers = {need: at for at, a in reversed([*enumerate(actions)]) for need in order.needs(a)}
    before: list[list[Step]] = [[] for _ in actions]
    for receives in _by_way(rows[rank]).values():
        place = len(actions) - 1
        for receive in reversed(receives):
            place = min(place, max(readers[receive.of] - 1, 0))
            before[place].insert(0, receive)
    count, row = 0, list[Step]()
    for step in mine:
        if isinstance(step, Action):
            row.extend(before[count])
            count += 1
        row.append(step)
    return tuple(row)


def _receives(step: Step) -> bool:
    return isinstance(step, Transfer) and step.way == "receive"


def _by_way(row: tuple[Step, ...]) -> dict[tuple[str, int], list[Transfer]]:
    """Return the receives of a row by what is received from whom: in the order of the sends."""
    ways: dict[tuple[str, int], list[Transfer]] = {}
    for step in row:
        if isinstance(step, Transfer) and step.way == "receive":
            ways.setdefault((step.of.kind, step.rank), []).append(step)
    return ways


def follower(order: Order, action: Action) -> int | None:
    """Return the stage that needs an action's result; None where no other one does."""
    if action.kind == "W":
        return None
    route = order.route(action.microbatch)
    stage = action.stage + (1 if action.kind == "F" else -1)
    return stage if stage in route else None
