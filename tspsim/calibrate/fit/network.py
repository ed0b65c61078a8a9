"""Which algorithm the library uses for each kind of collective, and the links' constants.

The time of a call is ``calls * latency + bytes * load / bandwidth``; the algorithm says how many
latencies and which load, and is chosen per kind: the one that explains the rows best.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from tspsim.calibrate.fit.curves import rounded
from tspsim.calibrate.rows import Row
from tspsim.collectives.algorithm import Algorithm
from tspsim.collectives.plan import Plan
from tspsim.program.types import CollectiveKind, Message
from tspsim.registry import COLLECTIVES
from tspsim.topology.graph import Link, Topology
from tspsim.topology.hardware import Device, Profile

#: Rounds of choosing algorithms and fitting constants; few are enough, or something is unstable.
ROUNDS = 6
#: What a library on machines joined by a switch can be seen to use: its own, or the plain ones.
CANDIDATES = ("direct", "gloo", "ring")
#: What arrives is not throttled: that side of a link is faster by this.
WAY_IN = 1000.0

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Network:
    """Constants of communication.

    Parameters
    ----------
    bandwidth : float
        Bytes/s that leave a rank.
    latency : float
        Seconds of one send.
    algorithms : dict of str to str
        By kind of collective.
    """

    bandwidth: float
    latency: float
    algorithms: dict[str, str]


def star(ranks: int, bandwidth: float, latency: float, profile: Profile) -> Topology:
    """Return ranks around a switch: the way out has the bandwidth, the way in is wide open."""
    device = Device("rank", (("fp32", 1.0),), 1.0, 1.0)
    out = [Link(i, f"d{i}", "switch", bandwidth, latency) for i in range(ranks)]
    into = [Link(ranks + i, "switch", f"d{i}", bandwidth * WAY_IN, 0.0) for i in range(ranks)]
    return Topology("star", (device,) * ranks, (*out, *into), profile)


@lru_cache(maxsize=1024)
def terms(algorithm: str, kind: str, ranks: int, root: int) -> tuple[float, float] | None:
    """Return latencies per call, and seconds per byte at 1 byte/s; None: cannot do it."""
    plan = planned(algorithm, kind, ranks, root, 1.0, 1.0)
    if plan is None:
        return None
    unit = star(ranks, 1.0, 1.0, Profile(""))
    fill = 1 + plan.stages if plan.stages else 1  # in one part; many parts approach 1
    return plan.latency, plan.slowest(unit) * (1.0 if not plan.stages else min(fill, 1.25))


def planned(
    algorithm: str, kind: str, ranks: int, root: int, bandwidth: float, latency: float
) -> Plan | None:
    """Return an algorithm's plan of one call over all ranks of a star."""
    topology = star(ranks, bandwidth, latency, Profile(""))
    members = (0, 1) if kind == "shift" else tuple(range(ranks))
    make: Algorithm = COLLECTIVES.get(algorithm)
    asked = Message(cast("CollectiveKind", kind), 0).carried_as(ranks)
    return make(asked, members, topology, root)


def fit_network(rows: Sequence[Row]) -> Network:
    """Return the constants that rows of collectives give."""
    seconds = np.array([row.median for row in rows])
    algorithms = dict.fromkeys(sorted({row.case["collective"] for row in rows}), "ring")
    constants = _start(rows)
    for _ in range(ROUNDS):
        chosen = {kind: _nearest(kind, rows, constants) for kind in algorithms}
        constants = _constants(rows, chosen, seconds)
        if chosen == algorithms:
            break
        algorithms = chosen
    latency, per_byte = constants
    return Network(rounded(1 / per_byte), rounded(latency), algorithms)


def _start(rows: Sequence[Row]) -> Floats:
    """Return a first guess: broadcasts between two, or else the largest messages."""
    plain = [row for row in rows if row.case["collective"] == "broadcast"] or list(rows)
    fewest = min(row.case["ranks"] for row in plain)
    largest = max(
        (row for row in plain if row.case["ranks"] == fewest), key=lambda row: row.case["bytes"]
    )
    return np.array([1e-4, largest.median / largest.case["bytes"]])


def _coefficients(row: Row, algorithm: str) -> tuple[float, float]:
    case = row.case
    found = terms(algorithm, case["collective"], case["ranks"], case.get("root", 0))
    if found is None:
        return float("inf"), float("inf")
    return found[0], found[1] * case["bytes"]


def _nearest(kind: str, rows: Sequence[Row], constants: Floats) -> str:
    """Return the algorithm whose times are nearest to the measured ones, the first among equals."""
    mine = [row for row in rows if row.case["collective"] == kind]
    measured = np.log([row.median for row in mine])

    def misfit(name: str) -> float:
        times = np.array([_coefficients(row, name) for row in mine]) @ constants
        return round(float(np.abs(np.log(times) - measured).mean()), 6)

    # A library's own algorithm is named only where it says more than the general ones.
    names = sorted(CANDIDATES, key=lambda n: (misfit(n), n == "gloo", n))
    return names[0]


def _constants(rows: Sequence[Row], chosen: dict[str, str], seconds: Floats) -> Floats:
    """Return latency and seconds per byte: relative residuals, outliers count less."""
    matrix = np.array([_coefficients(row, chosen[row.case["collective"]]) for row in rows])
    relative = matrix / seconds[:, None]
    groups = [(row.case["collective"], row.case["ranks"]) for row in rows]
    # Kinds count alike, however often each was measured.
    weights = np.array([1 / math.sqrt(groups.count(group)) for group in groups])
    scale = np.array([1e-4, 1e-8])

    def residuals(x: Floats) -> Floats:
        return np.asarray((relative @ (x * scale) - 1.0) * weights)

    solved = least_squares(
        residuals, [1.0, 1.0], bounds=([0.0, 1e-4], [np.inf, np.inf]), loss="cauchy", f_scale=0.01
    )
    return np.asarray(solved.x * scale)
