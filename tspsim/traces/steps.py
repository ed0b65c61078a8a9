"""Which step of a trace to look at: the marks ``ProfilerStep#N``, and the median of their times."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tspsim.files.errors import UserError
from tspsim.traces.activity import Ran, activities
from tspsim.traces.events import Activity
from tspsim.traces.files import numbered, read_all

#: No run has more steps than 18 digits count, and Python reads no number of thousands of them.
_MARK = re.compile(r"ProfilerStep#(\d{1,18})$")


@dataclass(frozen=True, slots=True, eq=False)
class RankStep:
    """What one rank did in the step.

    Parameters
    ----------
    rank : int
    start, end : float
        Seconds, from the beginning of the step.
    activities : tuple of Activity
        Their times count from there, too.
    """

    rank: int
    start: float
    end: float
    activities: tuple[Activity, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """A step that was measured, on all ranks whose traces there are.

    Parameters
    ----------
    ranks : tuple of RankStep
    seconds : float
        On one clock from the last rank's start to the last rank's end; else the longest of a rank.
    world : int or None
        Ranks of the run; None: the traces do not say.
    gpu : bool
    chosen : str
        Which step it is, in words.
    names : tuple of str
        The files.
    """

    ranks: tuple[RankStep, ...]
    seconds: float
    world: int | None
    gpu: bool
    chosen: str
    names: tuple[str, ...]


def measured(places: Sequence[str | Path]) -> Step:
    """Return the median step of a run's traces.

    Parameters
    ----------
    places : sequence of str or Path
        Files, one a rank, and folders of files.

    Raises
    ------
    UserError
        When they are of no run, or of several.
    """
    ran = [activities(trace) for trace in read_all(places)]
    if len({each.gpu for each in ran}) > 1:
        first, other = ran[0], next(each for each in ran if each.gpu != ran[0].gpu)
        told = "one has kernels of a GPU, the other has none: mixed runs"
        raise UserError(f"{other.trace.name} and {first.trace.name}: {told}")
    marks = [_marks(each) for each in ran]
    shared = sorted(set.intersection(*(set(of_rank) for of_rank in marks)))
    if not shared and any(marks):
        told = "; ".join(f"{r.trace.name}: {_numbers(m)}" for r, m in zip(ran, marks, strict=True))
        raise UserError(f"no ProfilerStep is in all traces ({told}): mixed runs")
    one_clock = len({r.trace.host for r in ran}) == 1 and bool(ran[0].trace.host or len(ran) == 1)
    if not shared:
        step = [_cut(each, None) for each in ran]
        return _step(ran, step, one_clock, "no ProfilerStep marks: all of the trace is one step")
    steps = {n: [_cut(r, m[n]) for r, m in zip(ran, marks, strict=True)] for n in shared}
    order = sorted(shared, key=lambda n: _length(steps[n], one_clock))
    number = order[(len(order) - 1) // 2]
    return _step(ran, steps[number], one_clock, _chosen(number, shared, marks))


def _numbers(marks: dict[int, tuple[float, float]]) -> str:
    return ", ".join(map(str, sorted(marks))) or "none"


def _chosen(
    number: int, shared: Sequence[int], marks: Sequence[dict[int, tuple[float, float]]]
) -> str:
    of = f"of steps {shared[0]} to {shared[-1]}" if len(shared) > 1 else "the only one"
    told = f"step {number}, the median {of}" if len(shared) > 1 else f"step {number}, {of}"
    left = sorted(set.union(*(set(of_rank) for of_rank in marks)) - set(shared))
    return f"{told}; not of all ranks: {', '.join(map(str, left))}" if left else told


def _marks(ran: Ran) -> dict[int, tuple[float, float]]:
    """Return when the host began and ended each step, in seconds."""
    found = {}
    for _, event in numbered(ran.trace.events):
        match = _MARK.match(event["name"])
        if match and event.get("cat") != "gpu_user_annotation":
            start = float(event["ts"]) * 1e-6
            found[int(match[1])] = (start, start + float(event["dur"]) * 1e-6)
    return found


def _cut(ran: Ran, mark: tuple[float, float] | None) -> RankStep:
    """Return what the host asked for during a mark, with when it began and ended."""
    inside = [a for a in ran.activities if mark is None or mark[0] <= a.asked < mark[1]]
    if not inside:
        raise UserError(f"{ran.trace.name}: nothing ran in a ProfilerStep of it; record more steps")
    start, end = min(a.start for a in inside), max(a.end for a in inside)
    if mark is not None and not ran.gpu:
        start, end = mark
    assert ran.trace.rank is not None
    base = ran.trace.base
    return RankStep(ran.trace.rank, base + start, base + end, tuple(inside))


def _length(ranks: Sequence[RankStep], one_clock: bool) -> float:
    if one_clock:
        return max(r.end for r in ranks) - max(r.start for r in ranks)
    return max(r.end - r.start for r in ranks)


def _step(ran: Sequence[Ran], ranks: Sequence[RankStep], one_clock: bool, chosen: str) -> Step:
    last = max(r.start for r in ranks)
    moved = tuple(
        _moved(rank, each.trace.base, last if one_clock else rank.start)
        for each, rank in zip(ran, ranks, strict=True)
    )
    first = ran[0]
    names = tuple(each.trace.name for each in ran)
    seconds = _length(ranks, one_clock)
    return Step(moved, seconds, first.trace.world, first.gpu, chosen, names)


def _moved(rank: RankStep, base: float, origin: float) -> RankStep:
    """Return a rank's step with times that count from an origin."""
    shift = base - origin
    ours = tuple(
        replace(a, start=a.start + shift, end=a.end + shift, asked=a.asked + shift)
        for a in rank.activities
    )
    return RankStep(rank.rank, rank.start - origin, rank.end - origin, ours)
