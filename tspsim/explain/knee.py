"""The bandwidth beyond which faster links do (almost) nothing, by bisection on re-simulation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tspsim.explain.constants import Constant
from tspsim.explain.replay import Replay
from tspsim.topology.graph import Topology

#: What is still to be gained beyond the knee, as a share of the step time.
NOTHING = 0.01
#: How exactly the knee is found, as a share of it.
PRECISION = 0.02
#: Links so many times as fast need no time beside their latency.
ENDLESS = 2.0**20
#: The search ends at links so many times slower or faster than they are.
MOST = 2.0**10


class Knee(NamedTuple):
    """Where a link's bandwidth stops to matter.

    Attributes
    ----------
    constant : Constant
        The bandwidth of a class of links.
    bandwidth : float or None
        Bytes/s: at this bandwidth, endlessly fast links would be no more than `NOTHING` faster.
        None where the search found none.
    limit : float
        Step time with endlessly fast links, in seconds.
    gain : float
        Step time as it is over `limit`.
    """

    constant: Constant
    bandwidth: float | None
    limit: float
    gain: float


def find_knee(
    replay: Replay,
    topology: Topology,
    constant: Constant,
    nothing: float = NOTHING,
    precision: float = PRECISION,
) -> Knee:
    """Return the knee of one class of links.

    It is the lowest bandwidth, as far as bisection sees: a step may get slower with faster links
    (Graham's anomalies), and then there may be a lower one.

    Parameters
    ----------
    replay : Replay
    topology : Topology
    constant : Constant
        The bandwidth of a class of links.
    nothing, precision : float
    """
    now = replay.as_played(topology).step_time

    def takes(factor: float) -> float:
        return now if factor == 1 else replay.step_time(constant.scaled(topology, factor))

    limit = takes(ENDLESS)
    factor = _lowest(lambda f: takes(f) <= (1 + nothing) * limit, precision)
    bandwidth = None if factor is None else factor * constant.value
    return Knee(constant, bandwidth, limit, now / limit if limit else 1.0)


def _lowest(enough: Callable[[float], bool], precision: float) -> float | None:
    """Return the lowest factor that is enough, from above; None when no factor up to MOST is.

    Also None when even 1 / MOST is enough: then the links do not matter at all.
    """
    high = 1.0
    if enough(high):
        while enough(high / 2):
            high /= 2
            if high < 1 / MOST:
                return None
        low = high / 2
    else:
        low = high
        while not enough(2 * low):
            low *= 2
            if low > MOST:
                return None
        high = 2 * low
    while high / low > 1 + precision:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high
