"""From the ideal step to the real one: what every cause adds, on the mean of all ranks.

Every moment of every rank is put down to one cause, so the parts add up to the step time. The mean
of the ranks is taken because the ideal is one of all devices: those that have less to compute than
others wait for them, and that wait is what uneven work costs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from math import fsum
from typing import Literal, NamedTuple, get_args

from tspsim.engine.bubble import Bubbles
from tspsim.engine.timeline import Timeline
from tspsim.explain.kernels import Kernels
from tspsim.explain.standing import Reason, standing
from tspsim.flops import model_flops
from tspsim.result import Result

Group = Literal[
    "ideal", "again", "kernels", "launch", "host", "slowed", "communication", "bubble", "uneven",
    "waiting",
]  # fmt: skip
#: In the order in which they lead from the ideal step to the real one.
GROUPS: tuple[Group, ...] = get_args(Group)
#: What the groups are called.
SAID: Mapping[Group, str] = {
    "ideal": "ideal",
    "again": "computed again",
    "kernels": "kernels below their peak",
    "launch": "starting kernels",
    "host": "waiting for the host",
    "slowed": "kernels slowed down",
    "communication": "waiting for communication",
    "bubble": "pipeline bubble",
    "uneven": "uneven messages",
    "waiting": "waiting for slower ranks",
}
#: Groups that are found as they are: of kernels, and of standing still.
_AS_FOUND: tuple[Group, ...] = ("launch", "slowed", *get_args(Reason))

#: Parts of the ideal, and of what is computed again.
MULTIPLIED, READ = "model flops at the peak rate", "reading weights and cache"
LAYERS, SCORES, BEYOND = "layers", "scores of attention", "products beyond the model's"
#: What is less than this share of a step is not shown: 0.0 % in a table.
NOTHING = 5e-4
#: Differences below this share are float rounding.
_DUST = 1e-12


class Part(NamedTuple):
    """What one cause adds.

    Attributes
    ----------
    group : Group
    name : str
        What of the group; empty where it has but one part.
    seconds : float
        Of the mean rank.
    """

    group: Group
    name: str
    seconds: float

    @property
    def said(self) -> str:
        """What it is called alone."""
        return SAID[self.group] if not self.name else f"{SAID[self.group]}: {self.name}"


class Why(NamedTuple):
    """The step as a waterfall.

    Attributes
    ----------
    ideal : {"flops", "bytes"}
        What the ideal step does: the model's flops at the peak rate of the devices; or, in
        inference where that takes longer, reading weights and cache at their full bandwidth.
    parts : tuple of Part
        By `GROUPS`, the largest of a group first; the ideal is the first of all.
    ranks : int
        Of which this is the mean.
    """

    ideal: Literal["flops", "bytes"]
    parts: tuple[Part, ...]
    ranks: int

    @property
    def total(self) -> float:
        """Seconds of all parts: the step time, up to rounding."""
        return fsum(part.seconds for part in self.parts)

    @property
    def groups(self) -> dict[Group, tuple[Part, ...]]:
        """The parts by group, to be shown: groups of next to nothing are out."""
        found = {group: tuple(p for p in self.parts if p.group == group) for group in GROUPS}
        return {group: parts for group, parts in found.items() if self._shows(parts)}

    def _shows(self, parts: tuple[Part, ...]) -> bool:
        ideal = any(part.group == "ideal" for part in parts)
        return ideal or fsum(abs(part.seconds) for part in parts) >= NOTHING * self.total > 0


#: Amounts of kernels and causes of standing still, each with its name, on the mean rank.
Found = Mapping[tuple[str, str], float]


def why(result: Result) -> Why:
    """Return why a step takes longer than the ideal one: that of the result's timeline."""
    scenario, timeline = result.scenario, result.timeline
    found, ranks = _mean(result), timeline.mesh.ranks
    model = timeline.mesh.replicas * model_flops(scenario.model, scenario.workload) / ranks
    useful, flops, read = (_whole(found, amount) for amount in ("useful", "flops", "read"))
    products = useful * (model / flops) if flops else 0.0
    reads = read > products
    parts = [
        *(_reading(found, read) if reads else _multiplying(found, products)),
        Part("again", LAYERS, found.get(("again", ""), 0.0)),
        *(Part(group, name, s) for group in _AS_FOUND for name, s in _of(found, group).items()),
    ]
    least = _DUST * timeline.step_time
    parts = [part for part in parts if abs(part.seconds) > least or part.group == "ideal"]
    ordered = sorted(parts, key=lambda part: (GROUPS.index(part.group), -part.seconds))
    return Why("bytes" if reads else "flops", tuple(ordered), ranks)


def _mean(result: Result) -> Found:
    """Return what there is of kernels and of standing still on the mean rank."""
    timeline, scenario = result.timeline, result.scenario
    infers = scenario.workload.requests is not None
    kernels = Kernels(timeline, scenario.topology, scenario.workload.dtype, infers=infers)
    bubbles = Bubbles(timeline) if result.summary.pipeline else None
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for rank, count in _played(timeline).items():
        for each in (kernels.of(rank), standing(timeline, rank, bubbles)):
            for key, value in each.items():
                found[key].append(value * count / timeline.mesh.ranks)
    return {key: fsum(values) for key, values in found.items()}


def _played(timeline: Timeline) -> dict[int, int]:
    """Return the ranks that were played, each with how many it stands for."""
    stand_ins = timeline.fold.stand_ins if timeline.fold else None
    return dict(Counter(stand_ins or timeline.played))


def _of(found: Found, amount: str) -> dict[str, float]:
    return {name: value for (of, name), value in found.items() if of == amount}


def _whole(found: Found, amount: str) -> float:
    return fsum(_of(found, amount).values())


def _multiplying(found: Found, products: float) -> Iterator[Part]:
    """Yield what is computed once, where the ideal step multiplies."""
    beyond = _whole(found, "useful") - products
    yield Part("ideal", MULTIPLIED, products)
    yield Part("again", BEYOND, beyond if abs(beyond) > _DUST * products else 0.0)
    yield Part("again", SCORES, _whole(found, "scores"))
    yield from _kernels(found, ("useful", "scores"))


def _reading(found: Found, read: float) -> Iterator[Part]:
    """Yield what is computed once, where the ideal step reads."""
    yield Part("ideal", READ, read)
    yield from _kernels(found, ("read",))


def _kernels(found: Found, without: tuple[str, ...]) -> Iterator[Part]:
    """Yield the time of kernels by class, without what is counted elsewhere."""
    for name, busy in _of(found, "busy").items():
        less = fsum(found.get((other, name), 0.0) for other in without)
        yield Part("kernels", name, busy - less)
