"""The protocols of a node: a few straight lines of time over size, the lowest of which holds.

Where calls of several numbers of members are known, a line has a slope over those, too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, pairwise
from statistics import mean
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import lsq_linear

from tspsim.calibrate.published.curves import FEWEST, FOLDS
from tspsim.calibrate.published.rows import Call
from tspsim.collectives.choose import AUTO, Chooser
from tspsim.collectives.curve import hops
from tspsim.collectives.plan import Plan
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol

#: One protocol per this many rows, and no more than NCCL and RCCL have.
_ROWS_EACH, _MOST = 3, 3

#: Calls of one number of members whose sizes are closer than this factor do not show a latency.
_SPAN = 64


class Observation(NamedTuple):
    """What a call took, and what its links state.

    Attributes
    ----------
    latency, transfer : float
        Seconds by the latency and by the bandwidth that the links state.
    seconds : float
        Measured.
    members : int
        How many took part.
    bytes : int
        Of the message; 0: calls of one number of members, whose transfers tell their sizes.
    """

    latency: float
    transfer: float
    seconds: float
    members: int = 2
    bytes: int = 0

    @property
    def size(self) -> float:
        """What the calls are sorted by."""
        return self.bytes or self.transfer


def observe(call: Call, stated: Topology, algorithm: str = AUTO) -> Observation:
    """Return a call beside what it would take on a topology whose profile has no protocols."""
    plan = plan_of(call, stated, algorithm)
    transfer = call.bytes * plan.slowest(stated)
    whole = plan.time(call.bytes, stated)
    return Observation(whole - transfer, transfer, call.seconds, call.ranks, call.bytes)


def plan_of(call: Call, topology: Topology, algorithm: str = AUTO) -> Plan:
    """Return how a call travels; of a hop, that of every member to the next one at once."""
    members = tuple(range(call.ranks))
    if call.kind == "shift":
        return hops(call.bytes, members, topology)
    return Chooser(topology, algorithm).choose(call.kind, call.bytes, members, None)


def predict(call: Call, topology: Topology) -> float:
    """Return the seconds of a call where nothing else uses the links."""
    return plan_of(call, topology).time(call.bytes, topology)


def fit(observations: Sequence[Observation]) -> tuple[Protocol, ...]:
    """Return the protocols that explain some calls.

    The sizes are cut in all ways into as many runs as there are protocols; every run gives one by
    least squares of relative deviations, with latencies of at least 0 and an efficiency of at most
    1. The cut with the least mean absolute relative error holds. Calls of one number of members
    give no slope over members, and where they are all of about one size, no latency either.
    """
    ordered = sorted(observations, key=lambda o: o.size)
    one_count = len({o.members for o in ordered}) == 1
    if one_count and ordered[-1].size < _SPAN * ordered[0].size:
        return (_line(ordered, latency=False),)
    sizes = sorted({o.size for o in ordered})
    each = _ROWS_EACH + (not one_count)  # a slope over members wants another row
    count = max(1, min(_MOST, len(ordered) // each, len(sizes) // 2))
    best: tuple[Protocol, ...] = ()
    least = math.inf
    for cuts in combinations(range(2, len(sizes) - 1), count - 1):
        bounds = (0, *cuts, len(sizes))
        if any(stop - start < 2 for start, stop in pairwise(bounds)):
            continue
        runs = (set(sizes[start:stop]) for start, stop in pairwise(bounds))
        protocols = tuple(_line([o for o in ordered if o.size in run]) for run in runs)
        if (found := error(protocols, ordered)) < least:
            best, least = protocols, found
    return best


def _line(run: Sequence[Observation], latency: bool = True) -> Protocol:
    """Return one protocol, rounded to what is printed."""
    seconds = np.array([o.seconds for o in run])
    others = np.array([o.members - 1.0 for o in run])
    wanted = (seconds - np.array([o.latency for o in run])) / seconds
    transfer = np.array([o.transfer for o in run]) / seconds
    start = 1e-6 / seconds  # in microseconds, to be well scaled
    columns = {"slope": (transfer, 1.0)}
    if latency:
        columns["latency"] = start, 0.0
    if len(set(others)) > 1:
        columns |= {"each": (start * others, 0.0), "own": (transfer / others, 0.0)}
    matrix = np.column_stack([column for column, _ in columns.values()])
    least = [bound for _, bound in columns.values()]
    found = dict(zip(columns, lsq_linear(matrix, wanted, bounds=(least, np.inf)).x, strict=True))
    first, each = (float(f"{found.get(name, 0.0):.2f}e-6") for name in ("latency", "each"))
    own = round(float(found.get("own", 0.0)), 4)
    return Protocol(first, round(1 / float(found["slope"]), 4), per_member=each, own_part=own)


def times(
    protocols: Sequence[Protocol], observations: Sequence[Observation]
) -> NDArray[np.float64]:
    """Return the seconds that the fastest protocol gives, by observation."""
    return np.array(
        [
            o.latency
            + min(p.seconds(o.members) + o.transfer / p.achieved(o.members) for p in protocols)
            for o in observations
        ]
    )


def error(protocols: Sequence[Protocol], observations: Sequence[Observation]) -> float:
    """Return the mean absolute relative error of the times."""
    seconds = np.array([o.seconds for o in observations])
    return float(np.mean(np.abs(times(protocols, observations) / seconds - 1)))


def held_out(observations: Sequence[Observation]) -> tuple[tuple[Observation, float], ...]:
    """Return every call with the seconds of a fit to others; nothing where there are too few.

    Every third size is kept from a fit to the rest, in turn.
    """
    sizes = sorted({o.size for o in observations})
    if len(sizes) < FEWEST:
        return ()
    found: list[tuple[Observation, float]] = []
    for fold in range(FOLDS):
        kept = set(sizes[fold::FOLDS])
        protocols = fit([o for o in observations if o.size not in kept])
        held = [o for o in observations if o.size in kept]
        found += zip(held, map(float, times(protocols, held)), strict=True)
    return tuple(found)


def held_out_error(observations: Sequence[Observation]) -> float | None:
    """Return the mean absolute relative error on what was held out; None: nothing was."""
    found = held_out(observations)
    return mean(abs(seconds / o.seconds - 1) for o, seconds in found) if found else None
