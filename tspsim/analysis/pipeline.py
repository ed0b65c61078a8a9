"""The figures of a pipeline: its bubble, and the memory of its stages."""

from __future__ import annotations

from dataclasses import dataclass
from math import fsum

from tspsim.analysis.fullest import MemoryFigures, fill
from tspsim.engine.bubble import Bubble, Bubbles
from tspsim.engine.timeline import Timeline
from tspsim.memory import MemoryTrace
from tspsim.scenario.types import Scenario


@dataclass(frozen=True, slots=True)
class StageBubble:
    """The bubble of a stage: of that of its ranks that waits longest; parts as in `Bubble`."""

    rank: int
    fill: float
    between: float
    drain: float


@dataclass(frozen=True, slots=True)
class BubbleFigures:
    """For how long compute waits for micro-batches, in seconds.

    Parameters
    ----------
    mean : float
        Of all ranks.
    share : float
        The mean over the step time.
    most : float
        Of the rank that waits longest.
    most_rank : int
        The lowest of equals.
    per_stage : list of StageBubble
    """

    mean: float
    share: float
    most: float
    most_rank: int
    per_stage: list[StageBubble]


@dataclass(frozen=True, slots=True)
class StageMemory:
    """The peak of a stage: of that of its ranks that comes closest to filling its device."""

    rank: int
    peak: float
    capacity: float


@dataclass(frozen=True, slots=True)
class PipelineFigures:
    """The figures of a pipeline.

    Parameters
    ----------
    stages : int
        Degree of the axis ``pp``.
    schedule : str
    chunks : int
        Stages, in the words of the schedule, on each rank.
    micro_batches : int
    bubble : BubbleFigures
    memory_per_stage : list of StageMemory
    """

    stages: int
    schedule: str
    chunks: int
    micro_batches: int
    bubble: BubbleFigures
    memory_per_stage: list[StageMemory]


def pipeline_of(
    scenario: Scenario, timeline: Timeline, memory: MemoryTrace
) -> PipelineFigures | None:
    """Return the figures of a run's pipeline; None where it has none."""
    options = scenario.strategy.pp
    if options is None:
        return None
    return PipelineFigures(
        options.stages,
        options.kind,
        options.chunk_count,
        scenario.workload.micro_batches,
        _bubble(timeline),
        [_memory(scenario, memory, ranks) for ranks in _stages(timeline)],
    )


def _stages(timeline: Timeline) -> list[list[int]]:
    """Return the ranks of every role."""
    found: list[list[int]] = [[] for _ in timeline.programs.roles]
    for rank, role in enumerate(timeline.programs.role_of_rank):
        found[role].append(rank)
    return found


def _bubble(timeline: Timeline) -> BubbleFigures:
    bubbles = Bubbles(timeline)
    played = {rank: bubbles.of(rank) for rank in timeline.played}
    stand_ins = (timeline.fold.stand_ins if timeline.fold else None) or range(timeline.mesh.ranks)
    by_rank = [played[rank] for rank in stand_ins]

    def longest(ranks: list[int]) -> tuple[int, Bubble]:
        rank = max(ranks, key=lambda rank: (by_rank[rank].seconds, -rank))
        return rank, by_rank[rank]

    mean, step = fsum(b.seconds for b in by_rank) / len(by_rank), timeline.step_time
    of_stages = list(map(longest, _stages(timeline)))
    rank, most = max(of_stages, key=lambda found: found[1].seconds)
    per_stage = [StageBubble(rank, *bubble) for rank, bubble in of_stages]
    return BubbleFigures(mean, mean / step if step else 0.0, most.seconds, rank, per_stage)


def _memory(scenario: Scenario, memory: MemoryTrace, ranks: list[int]) -> StageMemory:
    found: MemoryFigures = fill(memory, scenario.topology, ranks)
    return StageMemory(found.peak_rank, found.peak, found.capacity)
