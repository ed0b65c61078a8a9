"""How requests fare at one replica: ``tspsim serve``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from tspsim.engine.serving.process import serve as play
from tspsim.engine.serving.served import Served
from tspsim.engine.serving.types import Cache, Limits
from tspsim.serving.arrivals import Traffic
from tspsim.serving.figures import (
    Latency,
    Load,
    OverTime,
    Preemptions,
    latency,
    load,
    over_time,
    plain,
    preemptions,
)
from tspsim.serving.replica import Replica
from tspsim.serving.step_times import StepTimes

Progress = Callable[[float], None]


@dataclass(frozen=True, slots=True)
class Offered:
    """The requests of a run.

    Parameters
    ----------
    about : str
        For people.
    rate : float or None
        Requests per second that were asked for; None: a trace.
    seed : int or None
    requests, prompt_tokens, new_tokens : int
        In all.
    arrival_rate : float or None
        Requests per second, as they came; None: all at once.
    """

    about: str
    rate: float | None
    seed: int | None
    requests: int
    prompt_tokens: int
    new_tokens: int
    arrival_rate: float | None


@dataclass(frozen=True, slots=True)
class Steps:
    """The steps of a run, and what their times rest on.

    Parameters
    ----------
    count : int
    mean : float
        Seconds of one.
    busy : float
        Part of the time in which one ran.
    played : int
        Steps that were simulated; the times of a run's steps are interpolated between them.
    compared : int
        Steps drawn from the run, which were simulated too.
    error : float
        By which part their interpolated times are off at most.
    """

    count: int
    mean: float
    busy: float
    played: int
    compared: int
    error: float


@dataclass(frozen=True, slots=True)
class Serving:
    """How requests fared at one replica; seconds, bytes, requests and tokens.

    Parameters
    ----------
    scenario : str
    offered : Offered
    limits : Limits
    cache : Cache
    duration : float
        From the first arrival to the last token.
    latency : Latency
    load : Load
    preemptions : Preemptions
    steps : Steps
    over_time : OverTime
    """

    scenario: str
    offered: Offered
    limits: Limits
    cache: Cache
    duration: float
    latency: Latency
    load: Load
    preemptions: Preemptions
    steps: Steps
    over_time: OverTime

    @property
    def throughput(self) -> dict[str, float]:
        """What is served per second: requests, new tokens, and tokens of prompts."""
        names = ("requests", "new_tokens", "prompt_tokens")
        return {name: getattr(self.offered, name) / self.duration for name in names}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        found = plain(asdict(self))
        found["cache"]["tokens"] = self.cache.tokens
        return found | {"throughput": self.throughput}


def serve(
    scenario: str,
    replica: Replica,
    traffic: Traffic,
    limits: Limits,
    progress: Progress | None = None,
) -> Serving:
    """Serve requests by one replica.

    Parameters
    ----------
    scenario : str
        Its name.
    replica : Replica
        Asked for the time of few steps.
    traffic : Traffic
    limits : Limits
    progress : callable, optional
        Called now and then with the fraction of the requests that has ended.

    Raises
    ------
    UserError
        When the cache has no room for a request, though it were alone.
    """
    cache = replica.cache
    traffic.check(cache)
    step_times = StepTimes(replica.step_time, limits, cache)
    served = play(traffic.requests, step_times, limits, cache, progress)
    first, last = served.span
    return Serving(
        scenario=scenario,
        offered=_offered(traffic, served),
        limits=limits,
        cache=cache,
        duration=last - first,
        latency=latency(served),
        load=load(served),
        preemptions=preemptions(served),
        steps=_steps(served, step_times),
        over_time=over_time(served, cache.blocks),
    )


def _offered(traffic: Traffic, served: Served) -> Offered:
    requests, arrivals = served.requests, served.arrivals
    between = float(arrivals[-1] - arrivals[0])
    return Offered(
        about=traffic.about,
        rate=traffic.rate,
        seed=traffic.seed,
        requests=len(requests),
        prompt_tokens=sum(request.prompt for request in requests),
        new_tokens=sum(request.new_tokens for request in requests),
        arrival_rate=(len(requests) - 1) / between if between else None,
    )


def _steps(served: Served, step_times: StepTimes) -> Steps:
    """Return what is to be told of the steps; plays those that are compared."""
    first, last = served.span
    return Steps(
        count=served.steps,
        mean=served.busy / served.steps,
        busy=min(1.0, served.busy / (last - first)),
        played=step_times.played,
        compared=len(step_times.sample),
        error=step_times.error(),
    )
