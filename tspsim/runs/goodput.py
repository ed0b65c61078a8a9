"""How much of a job's time is useful when devices fail: `tspsim goodput`."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tspsim.analysis.interval import IntervalFigures, interval_of
from tspsim.analysis.spread import CONFIDENCE, Spread, spread
from tspsim.engine.jobs.checkpointing import daly, efficiency, first_order, young
from tspsim.engine.jobs.goodput import Job, Spent, failure_times, play_job
from tspsim.files.errors import UserError
from tspsim.program.types import Programs
from tspsim.runs.seeds import repeat
from tspsim.scenario.types import Scenario
from tspsim.topology.disturbances import Reliability

Progress = Callable[[float], None]

#: Steps whose mean is the step time of a job, where jitter makes them differ.
STEPS = 10
#: Intervals that are tried, as factors of Young's: from an eighth to eight times, half octaves.
FACTORS = tuple(2 ** (k / 2) for k in range(-6, 7))
#: How often runs are drawn again with replacement, to see how sure the best interval is.
RESAMPLES = 1000
#: What a checkpoint holds: enough to go on as if nothing had been.
KEPT = ("weight", "optimizer")


@dataclass(frozen=True, slots=True)
class Tried:
    """One interval between checkpoints: the useful fraction over the runs, and by Daly's formula.

    Parameters
    ----------
    interval : float
        Seconds of useful work: whole steps.
    goodput : Spread
    closed_form : float
    """

    interval: float
    goodput: Spread
    closed_form: float


@dataclass(frozen=True, slots=True)
class Best:
    """The interval between checkpoints that wastes least, in seconds of useful work.

    Parameters
    ----------
    young, daly : float
        By their formulas.
    simulated : float
        Of those tried, the one with the most useful time over the runs.
    low, high : float
        Where `simulated` lies in 95 % of the cases when the runs are drawn again with replacement
        (bootstrap; Efron 1979).
    tried : tuple of Tried
    """

    young: float
    daly: float
    simulated: float
    low: float
    high: float
    tried: tuple[Tried, ...]


@dataclass(frozen=True, slots=True)
class Goodput:
    """A job of many steps with failures, over several runs; seconds and bytes.

    Parameters
    ----------
    scenario : str
    devices : int
    step_time : float
        Of one undisturbed step; with jitter the mean of `steps`.
    step_interval : IntervalFigures or None
        Where that lies, by published steps like it; None: unknown.
    steps : int
    tokens : int
        Per step.
    horizon, restart : float
    mtbf, system_mtbf : float or None
        Mean time between failures of one device, and of any.
    checkpoint_bytes : float or None
        That one rank writes; None where the scenario states the time.
    checkpoint_time, interval : float
        Of a checkpoint, and useful work between two.
    goodput : Spread
        Useful fraction of the horizon.
    closed_form, first_order : float or None
        The same by the formulas of Daly and of Young.
    time : Spent
        Where a run's time goes, as a mean over the runs.
    failures : float
        Per run, as a mean.
    best : Best or None
        None where all failures are stated.
    """

    scenario: str
    devices: int
    step_time: float
    step_interval: IntervalFigures | None
    steps: int
    tokens: int
    horizon: float
    restart: float
    mtbf: float | None
    system_mtbf: float | None
    checkpoint_bytes: float | None
    checkpoint_time: float
    interval: float
    goodput: Spread
    closed_form: float | None
    first_order: float | None
    time: Spent
    failures: float
    best: Best | None

    @property
    def steps_per_second(self) -> float:
        """Steps that count, per second of the horizon."""
        return self.goodput.mean / self.step_time

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        found = asdict(self)
        time = found.pop("time")
        del time["failures"]
        found |= {"runs": self.goodput.runs, "goodput": self.goodput.to_dict(), "time": time}
        found["useful_steps_per_second"] = self.steps_per_second
        found["useful_tokens_per_second"] = self.tokens * self.steps_per_second
        if self.best is not None:
            found["best_interval"] = found.pop("best")
            tried = [asdict(t) | {"goodput": t.goodput.to_dict()} for t in self.best.tried]
            found["best_interval"]["tried"] = tried
        return found


def goodput(scenario: Scenario, runs: int = 100, progress: Progress | None = None) -> Goodput:
    """Simulate one step of a scenario, and then jobs of such steps with failures.

    Parameters
    ----------
    scenario : Scenario
        With ``disturbances.reliability``.
    runs : int
        Jobs, each with failures of its own. One is enough where all failures are stated.
    progress : callable, optional
        Called now and then with the fraction of the step's tasks that has ended.

    Raises
    ------
    UserError
        When the scenario does not say how often devices fail.
    """
    job = scenario.disturbances.reliability
    if job is None:
        raise UserError(
            f"'{scenario.name}' does not say how often devices fail; add disturbances.reliability: "
            "mtbf, horizon, restart and checkpoint"
        )
    steps = STEPS if scenario.disturbances.jitter else 1
    result = repeat(scenario, steps, progress)
    times = result.summary.step_times
    assert times is not None
    written = _written(job, result.timeline.programs)
    return _Question(scenario, job, times.mean, steps, written).answer(runs)


def _written(job: Reliability, programs: Programs) -> float | None:
    """Return the bytes that one rank writes; of several roles, those of the one with the most."""
    if job.checkpoint is not None:
        return None
    if job.bytes is not None:
        return job.bytes
    kept = ([b for b in p.buffers if b.resident and b.kind in KEPT] for p in programs.roles)
    return float(max(sum(buffer.bytes for buffer in buffers) for buffers in kept))


@dataclass(frozen=True, slots=True)
class _Question:
    """One scenario's job, of which only the failures are not known yet."""

    scenario: Scenario
    job: Reliability
    step: float
    steps: int
    written: float | None

    @property
    def checkpoint(self) -> float:
        if self.job.checkpoint is not None:
            return self.job.checkpoint
        return (self.written or 0.0) / self.job.bandwidth

    @property
    def mtbf(self) -> float | None:
        """Mean time between failures of any device."""
        return self.job.mtbf and self.job.mtbf / len(self.scenario.topology.devices)

    @property
    def step_interval(self) -> IntervalFigures | None:
        """Where the time of a step lies."""
        return interval_of(self.step, self.scenario)

    def whole_steps(self, interval: float) -> float:
        return max(1, round(interval / self.step)) * self.step

    def interval(self) -> float:
        stated = self.job.interval
        assert stated is not None or self.mtbf is not None
        return self.whole_steps(stated or daly(self.checkpoint, self.mtbf or math.inf))

    def failures(self, runs: int) -> list[list[float]]:
        """Return when devices fail, by run."""
        told = self.scenario.disturbances
        stated, rate = [failure.at for failure in told.failures], 1 / self.mtbf if self.mtbf else 0
        count = runs if self.mtbf else 1
        horizon = self.job.horizon
        drawn = (failure_times(rate, horizon, told.seed, run, stated) for run in range(count))
        return [times.tolist() for times in drawn]

    def play(self, interval: float, failures: Sequence[Sequence[float]]) -> list[Spent]:
        job = Job(interval, self.checkpoint, self.job.restart)
        return [play_job(job, times, self.job.horizon) for times in failures]

    def answer(self, runs: int) -> Goodput:
        failures, interval, job = self.failures(runs), self.interval(), self.job
        spent = self.play(interval, failures)
        numbers = (interval, self.checkpoint, job.restart, self.mtbf) if self.mtbf else None
        return Goodput(
            scenario=self.scenario.name,
            devices=len(self.scenario.topology.devices),
            step_time=self.step,
            step_interval=self.step_interval,
            steps=self.steps,
            tokens=self.scenario.workload.tokens,
            horizon=job.horizon,
            restart=job.restart,
            mtbf=job.mtbf,
            system_mtbf=self.mtbf,
            checkpoint_bytes=self.written,
            checkpoint_time=self.checkpoint,
            interval=interval,
            goodput=_fraction([run.useful / job.horizon for run in spent]),
            closed_form=efficiency(*numbers) if numbers else None,
            first_order=first_order(*numbers) if numbers else None,
            time=_mean(spent),
            failures=sum(run.failures for run in spent) / len(spent),
            best=self.best(failures, self.mtbf) if self.mtbf else None,
        )

    def best(self, failures: Sequence[Sequence[float]], mtbf: float) -> Best:
        """Try intervals around Young's, all under the same failures."""
        middle = young(self.checkpoint, mtbf)
        intervals = sorted({self.whole_steps(middle * factor) for factor in FACTORS})
        horizon = self.job.horizon
        found = np.array(
            [[run.useful / horizon for run in self.play(tau, failures)] for tau in intervals]
        )
        low, high = _bootstrap(found, self.scenario.disturbances.seed)
        tried = [
            Tried(
                tau,
                _fraction(row.tolist()),
                efficiency(tau, self.checkpoint, self.job.restart, mtbf),
            )
            for tau, row in zip(intervals, found, strict=True)
        ]
        return Best(
            middle,
            daly(self.checkpoint, mtbf),
            intervals[int(found.mean(axis=1).argmax())],
            intervals[low],
            intervals[high],
            tuple(tried),
        )


def _fraction(values: Sequence[float]) -> Spread:
    """Return how fractions spread; no confidence interval reaches where no fraction lies."""
    found = spread(values)
    if found.low is None or found.high is None:
        return found
    return replace(found, low=max(0.0, found.low), high=min(1.0, found.high))


def _bootstrap(found: NDArray[np.float64], seed: int) -> tuple[int, int]:
    """Return which intervals bound the best in 95 % of the resamples; found[interval, run]."""
    runs = found.shape[1]
    again = np.random.default_rng(seed).integers(runs, size=(RESAMPLES, runs))
    bests = np.sort([int(found[:, drawn].mean(axis=1).argmax()) for drawn in again])
    cut = int(RESAMPLES * (1 - CONFIDENCE) / 2)
    return int(bests[cut]), int(bests[-1 - cut])


def _mean(spent: Sequence[Spent]) -> Spent:
    total = Spent()
    for name in ("useful", "checkpoints", "lost", "restarts"):
        setattr(total, name, math.fsum(getattr(run, name) for run in spent) / len(spent))
    return replace(total, failures=sum(run.failures for run in spent))
