"""The protocols of a node: a few straight lines of time over size, the lowest of which holds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from tspsim.calibrate.published.curves import FEWEST, FOLDS
from tspsim.calibrate.published.rows import Call
from tspsim.collectives.choose import AUTO, Chooser
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol

#: One protocol per this many rows, and no more than NCCL and RCCL have.
_ROWS_EACH, _MOST = 5, 3

#: Calls whose sizes lie closer together than this factor do not show a latency.
_SPAN = 64


class Observation(NamedTuple):
    """What a call took, and what its links state.

    Attributes
    ----------
    latency, transfer : float
        Seconds by the latency and by the bandwidth that the links state.
    seconds : float
        Measured.
    """

    latency: float
    transfer: float
    seconds: float


def observe(call: Call, stated: Topology, algorithm: str = AUTO) -> Observation:
    """Return a call beside what it would take on a topology whose profile has no protocols."""
    whole = predict(call, stated, algorithm)
    plan = Chooser(stated, algorithm).choose(call.kind, call.bytes, tuple(range(call.ranks)), None)
    transfer = call.bytes * plan.slowest(stated)
    return Observation(whole - transfer, transfer, call.seconds)


def predict(call: Call, topology: Topology, algorithm: str = AUTO) -> float:
    """Return the seconds of a call where nothing else uses the links."""
    plan = Chooser(topology, algorithm).choose(
        call.kind, call.bytes, tuple(range(call.ranks)), None
    )
    return plan.time(call.bytes, topology)


def fit(observations: Sequence[Observation]) -> tuple[Protocol, ...]:
    """Return the protocols that explain some calls.

    The calls, sorted by size, are cut in all ways into as many runs as there are protocols; every
    run gives one by least squares of relative deviations, with a latency of at least 0 and an
    efficiency of at most 1. The cut with the least mean absolute relative error holds. Calls that
    are all of about one size give one efficiency and no latency.
    """
    ordered = sorted(observations, key=lambda o: o.transfer)
    if ordered[-1].transfer < _SPAN * ordered[0].transfer:
        return (_line(ordered, latency=False),)
    count = max(1, min(_MOST, len(ordered) // _ROWS_EACH))
    best: tuple[Protocol, ...] = ()
    least = math.inf
    for cuts in combinations(range(2, len(ordered) - 1), count - 1):
        bounds = (0, *cuts, len(ordered))
        if any(stop - start < 2 for start, stop in pairwise(bounds)):
            continue
        protocols = tuple(_line(ordered[start:stop]) for start, stop in pairwise(bounds))
        if (found := error(protocols, ordered)) < least:
            best, least = protocols, found
    return best


def _line(run: Sequence[Observation], latency: bool = True) -> Protocol:
    """Return one protocol, rounded to what is printed."""
    seconds = np.array([o.seconds for o in run])
    wanted = (seconds - np.array([o.latency for o in run])) / seconds
    transfer = np.array([o.transfer for o in run]) / seconds
    start = 1e-6 / seconds if latency else 0 * seconds  # in microseconds, to be well scaled
    columns = np.column_stack([start, transfer])
    found = lsq_linear(columns, wanted, bounds=([0.0, 1.0], [np.inf, np.inf])).x
    microseconds = float(found[0]) if latency else 0.0
    return Protocol(float(f"{microseconds:.2f}e-6"), round(1 / float(found[1]), 4))


def times(
    protocols: Sequence[Protocol], observations: Sequence[Observation]
) -> NDArray[np.float64]:
    """Return the seconds that the fastest protocol gives, by observation."""
    latency = np.array([o.latency for o in observations])
    transfer = np.array([o.transfer for o in observations])
    lines = [p.latency + transfer / p.efficiency for p in protocols]
    return np.asarray(latency + np.min(lines, axis=0))


def error(protocols: Sequence[Protocol], observations: Sequence[Observation]) -> float:
    """Return the mean absolute relative error of the times."""
    seconds = np.array([o.seconds for o in observations])
    return float(np.mean(np.abs(times(protocols, observations) / seconds - 1)))


def held_out_error(observations: Sequence[Observation]) -> float | None:
    """Return the error on every third call of a fit to the others, in turn; None: too few."""
    ordered = sorted(observations, key=lambda o: o.transfer)
    if len(ordered) < FEWEST:
        return None
    total = 0.0
    for fold in range(FOLDS):
        protocols = fit([o for i, o in enumerate(ordered) if i % FOLDS != fold])
        held = ordered[fold::FOLDS]
        total += error(protocols, held) * len(held)
    return total / len(ordered)
