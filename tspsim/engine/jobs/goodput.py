"""A job of many steps that meets failures: steps, checkpoints, lost work and restarts.

A job works for an interval, writes a checkpoint, works on. When a device fails, all that was done
since the last complete checkpoint is lost, and after the time of a restart the job goes on from
there; a failure during a restart begins it anew. Between two failures nothing happens by chance, so
the simulation goes from failure to failure and counts the whole intervals in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.jitter import FAILURES, generator


@dataclass(frozen=True, slots=True)
class Job:
    """What a job does while nothing fails, in seconds.

    Parameters
    ----------
    interval : float
        Useful work between two checkpoints: whole steps.
    checkpoint : float
        Time of a checkpoint, in which no step runs.
    restart : float
        From a failure until the job computes again.
    """

    interval: float
    checkpoint: float
    restart: float


@dataclass(slots=True)
class Spent:
    """Where the time of a job went, in seconds; the four add up to its horizon.

    Parameters
    ----------
    useful : float
        Steps whose result was kept.
    checkpoints : float
        Complete checkpoints.
    lost : float
        Steps and checkpoints that a failure undid.
    restarts : float
    failures : int
    """

    useful: float = 0.0
    checkpoints: float = 0.0
    lost: float = 0.0
    restarts: float = 0.0
    failures: int = 0


def play_job(job: Job, failures: Sequence[float], horizon: float) -> Spent:
    """Play a job until its horizon.

    Parameters
    ----------
    job : Job
    failures : sequence of float
        When a device fails, in ascending order; those behind the horizon do not count.
    horizon : float
        What runs then is cut off there; a step that it cuts counts by its part.
    """
    spent, round_ = Spent(), job.interval + job.checkpoint
    down = up = 0.0  # when the last failure was, and when the job computes again
    for now in (*failures, horizon):
        now = min(now, horizon)
        spent.restarts += min(up, now) - down
        running = max(0.0, now - up)
        whole, rest = divmod(running, round_)
        spent.useful += whole * job.interval
        spent.checkpoints += whole * job.checkpoint
        if now == horizon:
            spent.useful += min(rest, job.interval)
            spent.checkpoints += max(0.0, rest - job.interval)
            break
        spent.lost += rest
        spent.failures += 1
        down, up = now, now + job.restart
    return spent


def failure_times(
    rate: float, horizon: float, seed: int, number: int = 0, stated: Sequence[float] = ()
) -> NDArray[np.float64]:
    """Return when devices fail, in ascending order.

    Parameters
    ----------
    rate : float
        Failures per second of all devices together: devices over the mean time between failures
        of one. Times between failures are exponential, as those of many devices together are.
    horizon : float
        Nothing behind it is of interest.
    seed, number : int
        The number tells jobs apart. A job's failures come at the same parts of the mean time
        between failures whatever its length: jobs can be compared under the same luck.
    stated : sequence of float
        Further failures.
    """
    drawn = generator(FAILURES, seed, number)
    count = int(rate * horizon + 4 * (rate * horizon) ** 0.5) + 8
    gaps: list[NDArray[np.float64]] = []
    while rate and sum(float(part.sum()) for part in gaps) <= rate * horizon:
        gaps.append(drawn.standard_exponential(count))
    times = np.cumsum(np.concatenate(gaps)) / rate if gaps else np.empty(0)
    times = np.sort(np.concatenate([times, np.asarray(stated, dtype=np.float64)]))
    return times[times < horizon]
