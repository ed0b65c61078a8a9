"""The figures of a measured step and of a simulated one, by the same functions from both."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import NamedTuple

import numpy as np

from tspsim.traces.events import Activity
from tspsim.traces.names import COMPUTE

#: What the ranks of a side did.
Side = Sequence[Sequence[Activity]]

#: The order of rows; what is not named comes behind, as it was met.
ORDER = (
    *COMPUTE, "broadcast", "all_gather", "reduce_scatter", "all_reduce", "reduce", "all_to_all",
    "shift", "send", "receive",
)  # fmt: skip


class Amount(NamedTuple):
    """What a rank has of a kind, the mean of the ranks.

    Attributes
    ----------
    calls, seconds : float
    waiting : float
        Seconds of it in which ranks waited for each other: what each call took longer than on the
        rank that took the least for it.
    bytes : float or None
        Of all messages; None: not every call says it, or it is no collective.
    names : tuple of str
        What they are called there, the longest first.
    """

    calls: float
    seconds: float
    waiting: float
    bytes: float | None
    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """One kind on both sides; None: that side has none of it.

    Parameters
    ----------
    kind : str
    communication : bool
    measured, predicted : Amount or None
    sizes : tuple of (int, int, int)
        Bytes of a message, and how often both sides send it, all ranks together: where they differ.
    """

    kind: str
    communication: bool
    measured: Amount | None
    predicted: Amount | None
    sizes: tuple[tuple[int, int, int], ...] = ()

    @property
    def ratio(self) -> float | None:
        """Predicted over measured, without waiting; None: one side has none of it."""
        if self.measured is None or self.predicted is None:
            return None
        took = self.measured.seconds - self.measured.waiting
        return (self.predicted.seconds - self.predicted.waiting) / took if took > 0 else None


class Times(NamedTuple):
    """Seconds of a step, and of a rank in it, the mean of the ranks.

    Attributes
    ----------
    step : float
    compute, communication : float
        In which something computes, or is on its way.
    exposed : float
        In which something is on its way and nothing computes.
    """

    step: float
    compute: float
    communication: float
    exposed: float

    @property
    def overlap(self) -> float | None:
        """Share of the communication beside which something computes; None: there is none."""
        return 1 - self.exposed / self.communication if self.communication else None


def rows(measured: Side, predicted: Side) -> list[Row]:
    """Return every kind that one side has, those that both have first."""
    one, other = (_by_kind(side) for side in alike(measured, predicted))
    kinds = [kind for kind in dict.fromkeys((*ORDER, *one, *other)) if kind in one or kind in other]
    return sorted((_row(kind, one, other) for kind in kinds), key=lambda row: row.ratio is None)


def alike(measured: Side, predicted: Side) -> tuple[Side, Side]:
    """Return both sides with a send and a receive for each shift, where one side has no others."""
    if _halves_alone(measured) == _halves_alone(predicted):
        return measured, predicted
    return [_split(rank) for rank in measured], [_split(rank) for rank in predicted]


def _halves_alone(side: Side) -> bool:
    """Whether sends and receives stand alone: gloo has no event for the two at once."""
    kinds = {activity.kind for rank in side for activity in rank}
    return bool(kinds & {"send", "receive"}) and "shift" not in kinds


def _split(rank: Sequence[Activity]) -> list[Activity]:
    """Return a rank's activities with a send and a receive in place of each shift."""
    return [
        each
        for a in rank
        for each in ((_as(a, "send"), _as(a, "receive")) if a.kind == "shift" else (a,))
    ]


def _as(a: Activity, kind: str) -> Activity:
    return replace(a, kind=kind)


def _by_kind(side: Side) -> dict[str, list[list[Activity]]]:
    """Return by kind what every rank has of it."""
    found: defaultdict[str, list[list[Activity]]] = defaultdict(lambda: [[] for _ in side])
    for place, rank in enumerate(side):
        for activity in rank:
            found[activity.kind][place].append(activity)
    return found


def _row(
    kind: str, measured: dict[str, list[list[Activity]]], predicted: dict[str, list[list[Activity]]]
) -> Row:
    one, other = measured.get(kind, []), predicted.get(kind, [])
    some = next(activity for rank in (*one, *other) for activity in rank)
    return Row(kind, some.communication, _amount(one), _amount(other), _differing(one, other))


def _amount(ranks: Side) -> Amount | None:
    every = list(chain.from_iterable(ranks))
    if not every:
        return None
    count, seconds = len(ranks), sum(activity.seconds for activity in every)
    sizes = [activity.bytes for activity in every]
    known = [size for size in sizes if size is not None]
    whole = sum(known) / count if len(known) == len(sizes) else None
    waiting = (seconds - _least(ranks) * count) / count if every[0].communication else 0.0
    names: Counter[str] = Counter()
    for activity in every:
        names[activity.name] += round(activity.seconds * 1e9)
    listed = tuple(name for name, _ in names.most_common(3))
    return Amount(len(every) / count, seconds / count, waiting, whole, listed)


def _least(ranks: Side) -> float:
    """Return the seconds of calls on the rank that took the least for each.

    Where ranks do not call alike nobody knows which calls are the same: then nothing is waiting.
    """
    if len({tuple(activity.bytes for activity in rank) for rank in ranks}) > 1:
        return sum(activity.seconds for rank in ranks for activity in rank) / len(ranks)
    calls: Iterable[tuple[Activity, ...]] = zip(*ranks, strict=True)
    return sum(min(activity.seconds for activity in call) for call in calls)


def _differing(measured: Side | None, predicted: Side | None) -> tuple[tuple[int, int, int], ...]:
    """Return the messages that one side sends more often than the other."""
    if not measured or not predicted:
        return ()
    one, other = (
        Counter(a.bytes for rank in side for a in rank if a.bytes is not None)
        for side in (measured, predicted)
    )
    if not one or not other:
        return ()
    return tuple((n, one[n], other[n]) for n in sorted(one | other) if one[n] != other[n])


def times(side: Side, step: float) -> Times:
    """Return the times of a step of some ranks."""
    found = [_times(rank) for rank in side]
    return Times(step, *(sum(column) / len(found) for column in zip(*found, strict=True)))


def _times(rank: Sequence[Activity]) -> tuple[float, float, float]:
    compute = _busy(a for a in rank if a.compute)
    sent = _busy(a for a in rank if a.communication)
    either = _busy(a for a in rank if a.compute or a.communication)
    return compute, sent, either - compute


def _busy(some: Iterable[Activity]) -> float:
    """Return the seconds in which at least one of some is under way."""
    spans = np.array(sorted((a.start, a.end) for a in some)).reshape(-1, 2)
    if not len(spans):
        return 0.0
    before = np.maximum.accumulate(spans[:, 1])
    starts = np.append(spans[0, 0], np.maximum(spans[1:, 0], before[:-1]))
    return float(np.maximum(spans[:, 1] - starts, 0.0).sum())
