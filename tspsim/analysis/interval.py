"""Where the time of a step lies, by published steps like it: what every printed time carries."""

from __future__ import annotations

from dataclasses import dataclass

from tspsim.kernels import Framework
from tspsim.topology.graph import Topology
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
    """

    low: float
    high: float
    coverage: float
    rows: int
    sources: int
    within: float
    borrowed: bool
    framework: str


def interval_of(
    seconds: float, framework: Framework, topology: Topology, ranks: int
) -> IntervalFigures | None:
    """Return the interval of a step's time; None: no step like it was ever compared."""
    nodes = len({topology.node(rank) for rank in range(ranks)})
    found = interval(topology.profile.steps, framework, nodes)
    if found is None:
        return None
    low, high = found.of(seconds)
    return IntervalFigures(
        low, high, COVERAGE, found.rows, found.sources, found.within, found.borrowed, framework
    )
