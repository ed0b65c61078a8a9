"""Everything that ``tspsim explain`` says of one result, as a value."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tspsim.analysis.apart import Apart, changed
from tspsim.analysis.fullest import fill
from tspsim.explain.bubble import BubbleCauses, bubble_causes
from tspsim.explain.constants import MOST_CLASSES, Constant, constants
from tspsim.explain.experts import ExpertCauses, expert_causes
from tspsim.explain.exposed import Cause, causes
from tspsim.explain.fill import PeakMemory, at_peak
from tspsim.explain.knee import Knee, find_knee
from tspsim.explain.links import LinkClass, class_of, used_classes
from tspsim.explain.path import critical_path
from tspsim.explain.pieces import ON_LINKS, CriticalPath, Piece
from tspsim.explain.reading import Reading, reading
from tspsim.explain.remedies import (
    Remedy,
    candidates,
    of_experts,
    of_inference,
    possible,
    remedies,
    replayed_of,
)
from tspsim.explain.replay import Replay, Replayed
from tspsim.explain.whatif import FACTORS, Sensitivity, sensitivities
from tspsim.explain.why import Why, why
from tspsim.topology.graph import Topology

if TYPE_CHECKING:
    from tspsim.result import Result

#: Told the fraction that is done.
Progress = Callable[[float], None]

#: Limits that are called something else as a resource. What computes is limited by the flop rate or
#: by the memory bandwidth: "compute" is the time of both, as in the table of a run.
RESOURCES = {"compute": "flop rate", "memory": "memory bandwidth", "fill": "pipeline fill"}

#: Simulations that finding a knee takes, about: for the progress that is shown.
_KNEE = 12


class Bottleneck(NamedTuple):
    """The resource that limits most of the critical path.

    Attributes
    ----------
    resource : str
        ``"flop rate"``, ``"memory bandwidth"``, ``"launch"``, ``"interference"``, ``"latency"``,
        ``"pipeline fill"``, ``"host"``, or ``"link d0→d1"``: the first of those that are alike.
    seconds : float
        Of the critical path.
    """

    resource: str
    seconds: float


@dataclass(frozen=True, slots=True, eq=False)
class WhatIf:
    """What other hardware, or another setting, would change; all of it simulated.

    Parameters
    ----------
    base : Replayed
        As it is.
    interval : Mapping or None
        Where the step time lies as it is: ``interval`` of its figures; None: unknown.
    sensitivities : tuple of Sensitivity
        The largest effect first.
    left_out : int
        Classes of links in use, beyond the busiest ones, that were not changed.
    knee : Knee or None
        Of the links whose bandwidth matters most; None where no link is used.
    remedies : tuple of Remedy
        The lowest peak first.
    experts : tuple of Remedy
        Where there are experts, other ways for them and the tokens: the shortest step first.
    whole : Replayed
        What remedies change: the step as it is; of inference all steps, and the fullest of them.
    inference : tuple of Remedy
        Of inference, other caches, pieces of prompts and ways of the strategy: the shortest first.
    """

    base: Replayed
    interval: Mapping[str, Any] | None
    sensitivities: tuple[Sensitivity, ...]
    left_out: int
    knee: Knee | None
    remedies: tuple[Remedy, ...]
    experts: tuple[Remedy, ...]
    whole: Replayed
    inference: tuple[Remedy, ...]

    def apart(self, step_time: float) -> Apart | None:
        """Return how far a changed step is from the one as it is; None: unknown."""
        return changed(self.interval, self.base.step_time, step_time)


@dataclass(frozen=True, slots=True, eq=False)
class Explanation:
    """Why a step takes as long as it does, what fills the memory, and what would change either.

    Parameters
    ----------
    result : Result
    why : Why
        From the ideal step to this one.
    path : CriticalPath
    bottlenecks : tuple of Bottleneck
        The largest first.
    causes : tuple of Cause
        Of the exposed communication of the slowest rank.
    bubble : BubbleCauses or None
        Of the rank that waits longest for micro-batches; None where there is no pipeline.
    experts : ExpertCauses or None
        None where there are none.
    reading : Reading or None
        What memory bandwidth reads in a step of inference; None elsewhere.
    memory : PeakMemory
        Of the step that is explained: the last one.
    what_if : WhatIf or None
        None where it was not asked for.
    """

    result: Result
    why: Why
    path: CriticalPath
    bottlenecks: tuple[Bottleneck, ...]
    causes: tuple[Cause, ...]
    bubble: BubbleCauses | None
    experts: ExpertCauses | None
    reading: Reading | None
    memory: PeakMemory
    what_if: WhatIf | None


def explain(
    result: Result, *, what_if: bool = True, progress: Progress = lambda _: None
) -> Explanation:
    """Explain a result.

    Parameters
    ----------
    result : Result
    what_if : bool
        Simulate what other hardware and other settings would give; without it nothing is
        simulated.
    progress : callable
        Told the fraction of the simulations that are done.
    """
    timeline, scenario = result.timeline, result.scenario
    path = critical_path(timeline, scenario)
    return Explanation(
        result,
        why(result),
        path,
        bottlenecks(path, scenario.topology),
        tuple(causes(timeline, timeline.slowest_rank)),
        _bubble(result),
        expert_causes(path, timeline, scenario) if scenario.model.experts else None,
        reading(path, timeline) if result.summary.inference else None,
        at_peak(timeline, fill(result.memory, scenario.topology)),
        _what_if(result, progress) if what_if else None,
    )


def _bubble(result: Result) -> BubbleCauses | None:
    found = result.summary.pipeline
    return bubble_causes(result.timeline, found.bubble.most_rank) if found else None


def bottlenecks(path: CriticalPath, topology: Topology) -> tuple[Bottleneck, ...]:
    """Return the seconds of a critical path by the resource that limits them.

    Links that are alike in bandwidth are one resource, named after the first.
    """
    firsts: dict[LinkClass, str] = {}
    for link in topology.links:
        firsts.setdefault(class_of(link), f"link {link.name}")

    def resource(piece: Piece) -> str:
        if piece.limit in ON_LINKS and piece.link is not None:
            return firsts[class_of(topology.links[piece.link])]
        return RESOURCES.get(piece.limit, piece.limit)

    return tuple(Bottleneck(name, seconds) for name, seconds in path.by(resource).items())


def _what_if(result: Result, progress: Progress) -> WhatIf:
    timeline, scenario = result.timeline, result.scenario
    topology, replay = scenario.topology, Replay.of(result)
    known = constants(timeline, topology, scenario.workload.dtype)
    ways = [list(possible(scenario, each)) for each in (candidates, of_experts, of_inference)]
    count = len(known) * len(FACTORS) + _KNEE + sum(map(len, ways))
    step = _Steps(count, progress)
    found = sensitivities(replay, topology, known, step)
    widest = _widest(found)
    knee = find_knee(replay, topology, widest) if widest else None
    step(_KNEE)
    changes, spreads, others = (remedies(each, step) for each in ways)
    lowest = tuple(sorted(changes, key=lambda r: (r.replayed.peak, r.replayed.step_time)))
    left_out = max(0, len(used_classes(timeline, topology)) - MOST_CLASSES)
    base, interval = replay.as_played(topology), result.summary.to_dict()["interval"]
    seen = base, interval, tuple(found), left_out, knee
    whole = replayed_of(result.summary)
    others = [remedy for remedy in others if remedy.replayed != whole]  # as it is by default
    return WhatIf(*seen, lowest, _fastest(spreads), whole, _fastest(others))


def _fastest(changes: list[Remedy]) -> tuple[Remedy, ...]:
    return tuple(sorted(changes, key=lambda r: (r.replayed.step_time, r.replayed.peak)))


def _widest(found: list[Sensitivity]) -> Constant | None:
    """Return the bandwidth of the links that matter most."""
    return next((s.constant for s in found if _is_links(s.constant)), None)


def _is_links(constant: Constant) -> bool:
    return constant.key.partition(":")[0] in ("link_bandwidth", "network_bandwidth")


class _Steps:
    """Counts simulations and tells the fraction that is done."""

    def __init__(self, count: int, progress: Progress) -> None:
        self._count, self._progress, self._done = count, progress, 0

    def __call__(self, steps: int = 1) -> None:
        """Count some more."""
        self._done += steps
        self._progress(min(1.0, self._done / self._count))
