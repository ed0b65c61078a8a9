"""Passes of a pipeline that follow each other whatever their times: a step takes as long as each.

A rank runs its passes one after another. Before its first one, a micro-batch has come through all
stages in front of it; behind its last backward the gradient goes back through all of these, and
the first stage still runs what it has put off. Each such line is a count of passes, so its length
under any times is one product.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.strategies.parts.stages import Pipeline

#: The passes, in the order of the rows of a count.
KINDS = "FIWB"
_BACKWARD = "IB"


@dataclass(frozen=True, slots=True, eq=False)
class Lines:
    """Passes by rank, kind and part of the model.

    Parameters
    ----------
    order : Order
        Without its rows.
    whole : ndarray of int, shape (ranks, 4, depth)
        Of the first micro-batch until it has come to a rank, and all of the rank's own.
    drained : ndarray of int, shape (ranks, 4, depth)
        The same up to the last backward; and what is done on the first stage when its gradient has
        come through there.
    way : ndarray of int, shape (ranks, 4, depth)
        Those of that gradient on its way, the first stage's included. What they compute again may
        be there before the gradient is.
    last : tuple of int
        The rank on which each line of `drained` ends.
    held : ndarray of int, shape (ranks, depth)
        Passes whose activations a rank holds when it holds most, until their backward.
    """

    order: Order
    whole: NDArray[np.int64]
    drained: NDArray[np.int64]
    way: NDArray[np.int64]
    last: tuple[int, ...]
    held: NDArray[np.int64]


@lru_cache(maxsize=512)
def lines(pipeline: Pipeline, micro_batches: int, *, trains: bool) -> Lines:
    """Return the lines of a pipeline's schedule."""
    order = pipeline.order(micro_batches, trains=trains)
    whole_backwards = {a[1:] for row in order.rows for a in row if a.kind == "B"}
    whole, drained, ways, last, held = [], [], [], [], []
    for rank, row in enumerate(order.rows):
        filled = _filled(order, row[0])
        whole.append(filled + _count(order, row))
        ends, passes, way = _drained(order, rank, whole_backwards)
        drained.append(filled + passes)
        ways.append(way)
        last.append(ends)
        held.append(_held(order, row))
    stub = Order(((),) * order.ranks, order.placement, order.microbatches, order.pipelines)
    stacked = np.stack(whole), np.stack(drained), np.stack(ways)
    return Lines(stub, *stacked, tuple(last), np.stack(held))


def _count(order: Order, actions: Iterable[Action]) -> NDArray[np.int64]:
    counts = np.zeros((len(KINDS), order.depth), dtype=np.int64)
    for kind, stage, _ in actions:
        counts[KINDS.index(kind), order.part(stage)] += 1
    return counts


def _filled(order: Order, first: Action) -> NDArray[np.int64]:
    """Return the passes before a rank's first one."""
    before = range(first.stage - order.part(first.stage), first.stage)
    return _count(order, (Action("F", stage, first.microbatch) for stage in before))


def _last(row: tuple[Action, ...], kinds: str) -> int:
    """Return the place of the last action of some kinds; the end of the row where there is none."""
    return max((i for i, action in enumerate(row) if action.kind in kinds), default=len(row))


def _drained(
    order: Order, rank: int, whole_backwards: set[tuple[int, int]]
) -> tuple[int, NDArray[np.int64], NDArray[np.int64]]:
    """Return where the gradient of a rank's last backward ends, and the passes until then."""
    row = order.rows[rank]
    at = _last(row, _BACKWARD)
    if at == len(row):
        return rank, _count(order, row), _count(order, ())
    _, stage, number = row[at]
    first = stage - order.part(stage)
    before = ((s, number) for s in range(first, stage))
    way = [Action("B" if key in whole_backwards else "I", *key) for key in before]
    ends = order.placement[first]
    behind = order.rows[ends]
    final = next(
        i for i, a in enumerate(behind) if a[1:] == (first, number) and a.kind in _BACKWARD
    )
    passes = (*row[: at + 1], *behind[final + 1 :])
    return ends, _count(order, passes), _count(order, way)


def _held(order: Order, row: tuple[Action, ...]) -> NDArray[np.int64]:
    """Return the passes that are held when most are, by part."""
    now = np.zeros(order.depth, dtype=np.int64)
    most = now.copy()
    for kind, stage, _ in row:
        now[order.part(stage)] += {"F": 1, "I": -1, "B": -1}.get(kind, 0)
        if now.sum() > most.sum():
            most = now.copy()
    return most
