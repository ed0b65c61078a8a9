"""What of a schedule its bounds read: which passes wait for which, and what is there.

A rank runs its passes one after another, and a pass needs what another rank gives. So whatever the
times are, a step takes as long as the longest way through these. And whatever the sizes are, some
moment holds most: there are few that no other one exceeds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from tspsim.program.stages import AtOnce, whole
from tspsim.schedules.orders.actions import Action
from tspsim.schedules.orders.order import Order
from tspsim.schedules.orders.running import running
from tspsim.strategies.parts.stages import Pipeline

#: The kinds of pass, in the order of the rows of a table of times.
KINDS = "FIWB"
#: Passes with which the gradients of a stage are added up.
_WEIGHTS = "WB"

#: Seconds by kind and stage.
Times: TypeAlias = Sequence[Sequence[float]]


class Pass(NamedTuple):
    """One pass of a micro-batch through a stage.

    Attributes
    ----------
    kind, stage, rank : int
    before : int
        The pass before it on its rank; the last place of a list: none.
    needs : int
        The pass on another rank that gives what it reads; likewise.
    pair : int
        Of two that are issued in turn, which: 1, or 2, right behind it and with the same `before`.
    """

    kind: int
    stage: int
    rank: int
    before: int
    needs: int
    pair: int


class Moments(NamedTuple):
    """What a rank holds at the start of some passes: those of which none is less than another.

    Attributes
    ----------
    parts : list of int
        The parts of the model that the rank holds: the columns of what follows.
    held : ndarray of int, shape (moments, parts)
        Passes between forward and (the first half of) backward.
    halved : ndarray of int, shape (moments, parts)
        Passes between the two halves of backward.
    begun : ndarray of int, shape (moments, parts)
        1 where weights have been used, and will be.
    added : ndarray of int, shape (moments, parts)
        1 where gradients have been added up, and more will be.
    works : ndarray of int, shape (moments,)
        1 where a whole backward begins; of forward alone, where a forward does.
    """

    parts: list[int]
    held: NDArray[np.int64]
    halved: NDArray[np.int64]
    begun: NDArray[np.int64]
    added: NDArray[np.int64]
    works: NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class Flow:
    """A schedule of some size.

    Parameters
    ----------
    order : Order
        Without its rows.
    passes : tuple of Pass
        Each behind all that it waits for.
    moments : tuple of Moments
        By rank.
    """

    order: Order
    passes: tuple[Pass, ...]
    moments: tuple[Moments, ...]

    def ends(self, taken: Times, computed: Times, late: Times) -> list[float]:
        """Return when every rank ends its last pass, at the earliest.

        Parameters
        ----------
        taken, computed, late : sequence of sequence of float
            Seconds of every pass; those in which it computes, which is all that two take that are
            issued in turn; and those that are left of it when what it needs has come, as what it
            computes again may be there before.
        """
        end = [0.0] * (len(self.passes) + 1)
        last = [0.0] * self.order.ranks
        for number, (kind, stage, rank, before, needs, pair) in enumerate(self.passes):
            own = end[before] + (computed if pair else taken)[kind][stage]
            if pair > 1:  # while one waits, the other may compute
                first = self.passes[number - 1]
                own = max(own + computed[first.kind][first.stage], end[number - 1])
            given = end[needs] + late[kind][stage] if needs >= 0 else 0.0
            last[rank] = end[number] = own if own > given else given
        return last


@lru_cache(maxsize=1024)
def flow(
    pipeline: Pipeline | None, micro_batches: int, overlap: AtOnce | None = None, *, trains: bool
) -> Flow:
    """Return what bounds read of a pipeline's schedule.

    Parameters
    ----------
    pipeline : Pipeline or None
        None: one micro-batch after another, but for those that `overlap` has run as one.
    micro_batches : int
    overlap : {"two_batches", "forward_backward"}, optional
    trains : bool
    """
    if pipeline is not None:
        order = pipeline.order(micro_batches, trains=trains)
        if not pipeline.interleave:
            order = replace(order, overlapped=frozenset())
    else:
        order = whole(1, micro_batches, overlap).order
        row = tuple(action for action in order.rows[0] if trains or action.kind == "F")
        order = replace(order, rows=(row,))
    stub = Order(((),) * order.ranks, order.placement, order.microbatches, order.pipelines)
    moments = tuple(_moments(order, rank) for rank in range(order.ranks))
    return Flow(stub, tuple(_passes(order)), moments)


def _passes(order: Order) -> Iterator[Pass]:
    """Yield the passes of all ranks, each behind all that it waits for."""
    given: dict[Action, int] = {}
    last = [-1] * order.ranks
    number = -1
    for rank, step in running(order):
        before = last[rank]
        for place, action in enumerate(step, start=len(step) > 1):
            away = (n for n in order.needs(action) if order.placement[n.stage] != rank)
            needs = max((given[needed] for needed in away), default=-1)
            yield Pass(KINDS.index(action.kind), action.stage, rank, before, needs, place)
            number += 1
            given[action.gives] = last[rank] = number


def _moments(order: Order, rank: int) -> Moments:
    parts = sorted({order.part(stage) for stage in order.on(rank)})
    found = np.array(sorted(set(_states(order, rank, parts))), dtype=np.int64)
    less = np.all(found[:, None] <= found[None], axis=2)
    rows = found[np.sum(less, axis=1) == 1]  # no less than itself alone
    held, halved, begun, added, works = np.split(rows, np.arange(1, 5) * len(parts), axis=1)
    return Moments(parts, held, halved, begun, added, works[:, 0])


def _states(order: Order, rank: int, parts: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Yield what is there when each pass of a rank begins: the columns of `Moments`."""
    # Of a pair what backward frees may be gone before forward keeps anything.
    steps = (sorted(step, key=lambda action: action.kind == "F") for step in order.steps(rank))
    row = [(action, parts.index(order.part(action.stage))) for step in steps for action in step]
    works = "B" if any(action.kind != "F" for action, _ in row) else "F"
    read, written = _last(row, "FIB"), _last(row, _WEIGHTS)
    held, halved, begun, added = (np.zeros(len(parts), dtype=np.int64) for _ in range(4))
    for number, (action, part) in enumerate(row):
        begun[part] &= number < read.get(part, 0)
        added[part] &= number < written.get(part, 0)
        yield (*held, *halved, *begun, *added, int(action.kind == works))
        held[part] += {"F": 1, "I": -1, "B": -1}.get(action.kind, 0)
        halved[part] += {"I": 1, "W": -1}.get(action.kind, 0)
        begun[part] = number < read.get(part, 0)
        added[part] |= action.kind in _WEIGHTS and number < written.get(part, 0)


def _last(row: Sequence[tuple[Action, int]], kinds: str) -> dict[int, int]:
    """Return, by part, the last place of some kinds; of several stages the first to end."""
    ends = {action.stage: number for number, (action, _) in enumerate(row) if action.kind in kinds}
    return {row[number][1]: number for number in sorted(ends.values(), reverse=True)}
