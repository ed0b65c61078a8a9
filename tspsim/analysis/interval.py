"""Where the time of a step lies, by published steps like it: what every printed time carries."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.scenario.types import Scenario
from tspsim.topology.compared import others
from tspsim.topology.whole_steps import COVERAGE, interval


@dataclass(frozen=True, slots=True)
class IntervalFigures:
    """An interval of seconds, and what it rests on.

    Parameters
    ----------
    low, high : float
    coverage : float
        Share of published steps that such intervals are to hold.
    rows, sources : int
        Published steps that were compared, and who measured them.
    within : float
        Standard deviation, as a logarithm, of what is left between runs of one program on one
        machine: differences are judged by it.
    borrowed : bool
        Those steps were run by another framework.
    framework : str
        Whose kernels are timed.
    experts : bool
        It is that of mixtures of experts.
    elsewhere : tuple of str
        What of the hardware none of them was run on: ``devices``, ``links``.
    """

    low: float
    high: float
    coverage: float
    rows: int
    sources: int
    within: float
    borrowed: bool
    framework: str
    experts: bool = False
    elsewhere: tuple[str, ...] = ()


def interval_of(seconds: float, scenario: Scenario) -> IntervalFigures | None:
    """Return the interval of a step's time; None: no step like it was ever compared.

    Published steps are of training: what they say of a step of inference, nobody knows.
    """
    if scenario.workload.requests:
        return None
    topology, framework = scenario.topology, scenario.workload.kernels.framework
    ranks = scenario.strategy.mesh().ranks
    nodes = len({topology.node(rank) for rank in range(ranks)})
    experts = scenario.model.experts is not None
    found = interval(topology.profile.steps, framework, nodes, experts=experts)
    if found is None:
        return None
    low, high = found.of(seconds)
    rests_on = found.rows, found.sources, found.within, found.borrowed
    elsewhere = others(topology, ranks)
    return IntervalFigures(low, high, COVERAGE, *rests_on, framework, experts, elsewhere)
