"""Receives ahead of their readers: what travels does so while another micro-batch is computed."""

from __future__ import annotations

from typing import TypeAlias

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.transfers import Transfer

#: What a rank does, in issue order.
Step: TypeAlias = Action | Transfer


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
    for receives in _by_way(order, rows[rank]).values():
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
    return isinstance(step, Transfer) and not step.sends


def _by_way(order: Order, row: tuple[Step, ...]) -> dict[tuple[bool, int], list[Transfer]]:
    """Return the receives of a row by what is received from whom: in the order of the sends."""
    ways: dict[tuple[bool, int], list[Transfer]] = {}
    for step in row:
        if isinstance(step, Transfer) and not step.sends:
            ways.setdefault((step.forward, step.peer(order)), []).append(step)
    return ways
