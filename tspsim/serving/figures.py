"""Figures of served requests: how long they took, what was held, what was done twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tspsim.engine.serving.served import Level, Served

#: Moments at which what is held over time is told.
MOMENTS = 400


@dataclass(frozen=True, slots=True)
class Times:
    """How a time spreads over requests, or over tokens; seconds.

    Parameters
    ----------
    mean : float
    p50, p90, p99 : float
        Percentiles, linear between the two nearest.
    maximum : float
    """

    mean: float
    p50: float
    p90: float
    p99: float
    maximum: float


@dataclass(frozen=True, slots=True)
class Latency:
    """How long requests took.

    Parameters
    ----------
    time_to_first_token, end_to_end, waiting : Times
        By request, from its arrival: to its first token, to its last one, to when it first runs.
    time_per_output_token : Times or None
        By request, the mean over its tokens behind the first; None: no request has any.
    inter_token : Times or None
        Between tokens of one request that follow each other, over all tokens.
    """

    time_to_first_token: Times
    time_per_output_token: Times | None
    inter_token: Times | None
    end_to_end: Times
    waiting: Times


@dataclass(frozen=True, slots=True)
class Held:
    """Something that is held over time.

    Parameters
    ----------
    mean : float
        From the first arrival to the last token.
    maximum : int
    """

    mean: float
    maximum: int


@dataclass(frozen=True, slots=True)
class Load:
    """What a replica held.

    Parameters
    ----------
    waiting, running : Held
        Requests in the queue, and in steps.
    blocks : Held
        Of the cache, that are taken.
    waiting_at_last_arrival : int
        Requests in the queue when the last one has come: a queue that grows shows here.
    """

    waiting: Held
    running: Held
    blocks: Held
    waiting_at_last_arrival: int


@dataclass(frozen=True, slots=True)
class Preemptions:
    """What was done twice, as the cache was full.

    Parameters
    ----------
    count : int
        How often a request lost what was cached.
    requests : int
        That this happened to.
    recomputed_tokens : int
    """

    count: int
    requests: int
    recomputed_tokens: int


@dataclass(frozen=True, slots=True)
class OverTime:
    """What a replica held, at equal distances of time.

    Parameters
    ----------
    times : tuple of float
        Seconds since the first arrival.
    waiting, running : tuple of int
        Requests.
    cache : tuple of float
        Part of the blocks that are taken.
    """

    times: tuple[float, ...]
    waiting: tuple[int, ...]
    running: tuple[int, ...]
    cache: tuple[float, ...]


def latency(served: Served) -> Latency:
    """Return how long requests took."""
    answers = np.array([request.new_tokens for request in served.requests])
    several, arrivals = answers > 1, served.arrivals
    each = (served.ended - served.first)[several] / (answers[several] - 1)
    return Latency(
        time_to_first_token=_spread(served.first - arrivals),
        time_per_output_token=_spread(each) if len(each) else None,
        inter_token=_spread(served.gaps) if len(served.gaps) else None,
        end_to_end=_spread(served.ended - arrivals),
        waiting=_spread(served.started - arrivals),
    )


def load(served: Served) -> Load:
    """Return what was held."""
    return Load(
        waiting=_held(served.waiting, served.span),
        running=_held(served.running, served.span),
        blocks=_held(served.blocks, served.span),
        waiting_at_last_arrival=int(served.waiting.at(served.arrivals[-1:])[0]),
    )


def preemptions(served: Served) -> Preemptions:
    """Return what was done twice."""
    counts = served.preemptions
    return Preemptions(int(counts.sum()), int((counts > 0).sum()), served.recomputed)


def over_time(served: Served, blocks: int) -> OverTime:
    """Return what was held over time, of a cache of so many blocks."""
    first, last = served.span
    moments = np.linspace(first, last, MOMENTS)
    return OverTime(
        tuple((moments - first).tolist()),
        tuple(served.waiting.at(moments).tolist()),
        tuple(served.running.at(moments).tolist()),
        tuple((served.blocks.at(moments) / blocks).tolist()),
    )


def plain(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Return figures as JSON names them."""
    return {
        "max" if name == "maximum" else name: plain(value) if isinstance(value, dict) else value
        for name, value in figures.items()
    }


def _spread(values: NDArray[np.float64]) -> Times:
    p50, p90, p99 = np.percentile(values, [50, 90, 99]).tolist()
    return Times(float(values.mean()), p50, p90, p99, float(values.max()))


def _held(level: Level, span: tuple[float, float]) -> Held:
    return Held(level.mean(*span), level.maximum)
