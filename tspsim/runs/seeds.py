"""A scenario with jitter, several times: each run under its own luck."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from tspsim.analysis.spread import spread
from tspsim.files.errors import UserError
from tspsim.result import Result
from tspsim.runner import play, simulate_scenario
from tspsim.scenario.types import Scenario

Progress = Callable[[float], None]


def repeat(scenario: Scenario, runs: int, progress: Progress | None = None) -> Result:
    """Simulate a scenario with the seeds ``seed``, ``seed + 1``...

    Parameters
    ----------
    scenario : Scenario
    runs : int
        How often; at least 1.
    progress : callable, optional
        Called now and then with the fraction that is done.

    Returns
    -------
    Result
        That of the first seed; `Summary.step_times` tells how the step time spreads over all.

    Raises
    ------
    UserError
        When several runs are asked for and nothing in the scenario is drawn by chance.
    """
    if runs > 1 and scenario.disturbances.jitter is None:
        raise UserError(
            f"--runs {runs}: every run of '{scenario.name}' is the same, as nothing in it is drawn "
            "by chance; see disturbances.jitter"
        )
    first = simulate_scenario(scenario, _part(progress, 0, runs))
    programs, times = first.timeline.programs, [first.summary.step_time]
    for number in range(1, runs):
        other = with_seed(scenario, scenario.disturbances.seed + number)
        times.append(play(other, programs, _part(progress, number, runs)).step_time)
    return replace(first, summary=replace(first.summary, step_times=spread(times)))


def with_seed(scenario: Scenario, seed: int) -> Scenario:
    """Return a scenario whose jitter is drawn with another seed; its document stays."""
    old = scenario.disturbances
    jitter = replace(old.jitter, seed=seed) if old.jitter else None
    return replace(scenario, disturbances=replace(old, seed=seed, jitter=jitter))


def _part(progress: Progress | None, number: int, runs: int) -> Progress | None:
    """Return what tells the progress of one run as a part of all."""
    if progress is None:
        return None
    whole = progress
    return lambda fraction: whole((number + fraction) / runs)
