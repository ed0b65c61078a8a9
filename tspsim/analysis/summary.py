"""What a run says in numbers: the figures of the table and of ``--json``, all in SI units."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from math import fsum
from operator import itemgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tspsim.analysis.carried import carried
from tspsim.analysis.experts import ExpertFigures, experts_of
from tspsim.analysis.fullest import MemoryFigures, fill
from tspsim.analysis.inference import InferenceFigures
from tspsim.analysis.interval import IntervalFigures, interval_of
from tspsim.analysis.pipeline import PipelineFigures, pipeline_of
from tspsim.analysis.spread import Spread
from tspsim.engine.held import held
from tspsim.engine.timeline import Timeline
from tspsim.flops import model_flops
from tspsim.memory import MemoryTrace
from tspsim.mesh import Mesh
from tspsim.program.by_rank import axes_of, received, works_of
from tspsim.program.columns import columns_of
from tspsim.program.recorder import HOST
from tspsim.program.types import Message, Program
from tspsim.scenario.types import Scenario
from tspsim.topology.graph import Topology


@dataclass(frozen=True, slots=True)
class StrategyFigures:
    """The strategy and the degrees of its axes."""

    kind: str
    axes: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class TimeFigures:
    """Where the step time of a rank goes, in seconds; the parts add up to the step time.

    Parameters
    ----------
    compute : float
        The compute stream is busy.
    exposed_communication : float
        It is not, but some communicator is.
    idle : float
        Neither: the rank waits for others.
    host : float or None
        The compute stream waits for the host alone; None where the kernels give it no time.
    """

    compute: float
    exposed_communication: float
    idle: float
    host: float | None = None


@dataclass(frozen=True, slots=True)
class CommunicationFigures:
    """Bytes that the slowest rank receives in one step, by collective, as `Message.received`.

    Parameters
    ----------
    received_bytes_per_rank : float
    by_op : Mapping of str to float
    algorithms : Mapping of str to list of str
        By collective, the algorithms that carried it, in the order of their first call.
    as_stated : list of str
        Calls in whose time no constant of the profile is, in words: their links are taken as they
        are stated.
    """

    received_bytes_per_rank: float
    by_op: Mapping[str, float]
    algorithms: Mapping[str, list[str]]
    as_stated: list[str]


@dataclass(frozen=True, slots=True)
class EngineFigures:
    """How the run was played: tasks, wall time, and which ranks stood for others."""

    tasks: int
    wall_seconds: float
    folded: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class ProfileFigures:
    """The profile that the times rest on, and its error where that is known."""

    name: str
    error: float | None


@dataclass(frozen=True, slots=True)
class Summary:
    """The figures of one run; the names are those of ``--json`` and stay.

    Parameters
    ----------
    scenario : str
    strategy : StrategyFigures
    ranks : int
    step_time : float
        Seconds.
    interval : IntervalFigures or None
        Where it lies, by published steps like it; None: unknown.
    tokens_per_second, tokens_per_second_per_device : float
        Tokens of all replicas.
    mfu : float or None
        Model flops over what all devices could do in the step time; None where no time passes.
    hfu : float or None
        The same with the flops that are executed, recomputation included.
    time : TimeFigures
        Of the slowest rank.
    communication : CommunicationFigures
    memory : MemoryFigures
    flops_per_rank : int
        Executed by the slowest rank.
    engine : EngineFigures
    profile : ProfileFigures
    pipeline : PipelineFigures or None
        None where there is none.
    experts : ExpertFigures or None
        None where there are none.
    step_times : Spread or None
        Over several runs, where jitter is drawn more than once: ``runs`` in ``--json``.
    inference : InferenceFigures or None
        None in training and forward passes. The other figures are those of its last step, except
        that memory is that of the step that needs most.
    """

    scenario: str
    strategy: StrategyFigures
    ranks: int
    step_time: float
    interval: IntervalFigures | None
    tokens_per_second: float
    tokens_per_second_per_device: float
    mfu: float | None
    hfu: float | None
    time: TimeFigures
    communication: CommunicationFigures
    memory: MemoryFigures
    flops_per_rank: int
    engine: EngineFigures
    profile: ProfileFigures
    pipeline: PipelineFigures | None = None
    experts: ExpertFigures | None = None
    step_times: Spread | None = None
    inference: InferenceFigures | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-able mapping."""
        figures = asdict(self)
        del figures["step_times"]
        if self.time.host is None:
            del figures["time"]["host"]
        for name in ("pipeline", "experts", "inference"):
            if figures[name] is None:
                del figures[name]
        if self.step_times is not None:
            times = self.step_times
            figures["runs"] = {"count": times.runs, "step_time": times.to_dict()}
        return figures


def summarize(
    scenario: Scenario, timeline: Timeline, memory: MemoryTrace, wall_seconds: float = 0.0
) -> Summary:
    """Return the figures of a run.

    Parameters
    ----------
    scenario : Scenario
    timeline : Timeline
    memory : MemoryTrace
    wall_seconds : float
        How long the engine took, which it does not know itself.
    """
    ranks, step = timeline.mesh.ranks, timeline.step_time
    topology, workload = scenario.topology, scenario.workload
    slowest = timeline.slowest_rank
    executed = _flops_by_rank(timeline)
    available = step * sum(device.peak(workload.dtype) for device in topology.devices[:ranks])
    replicas = timeline.mesh.replicas
    tokens = replicas * workload.tokens / step if step else 0.0
    model = replicas * model_flops(scenario.model, workload)
    filled = fill(memory, topology)
    return Summary(
        scenario=scenario.name,
        strategy=StrategyFigures(scenario.strategy.kind, dict(timeline.mesh.axes)),
        ranks=ranks,
        step_time=step,
        interval=interval_of(step, scenario),
        tokens_per_second=tokens,
        tokens_per_second_per_device=tokens / ranks,
        mfu=model / available if available else None,
        hfu=sum(executed) / available if available else None,
        time=time_of(timeline, slowest),
        communication=received_by(timeline, slowest, _as_stated(timeline, topology)),
        memory=filled,
        flops_per_rank=executed[slowest],
        engine=EngineFigures(
            timeline.tasks, wall_seconds, timeline.fold.axes if timeline.fold else {}
        ),
        profile=ProfileFigures(topology.profile.name, topology.profile.error),
        pipeline=pipeline_of(scenario, timeline, memory),
        experts=experts_of(scenario, timeline, filled.peak_rank),
    )


#: A share of the step below which a difference of sums is float rounding.
_DUST = 1e-12


def time_of(timeline: Timeline, rank: int) -> TimeFigures:
    """Return where the step time of a rank goes."""
    program, step = timeline.programs.of(rank), timeline.step_time
    lanes = columns_of(program).lanes
    start, end = timeline.start[rank], timeline.end[rank]
    busy = min(step, _covered(start[lanes == 0], end[lanes == 0]))
    hosted = HOST in program.lanes
    if hosted:  # what the host does is nobody's time but where compute waits for it
        device = lanes != program.lanes.index(HOST)
        waits = np.array(held(timeline, rank), dtype=np.float64).reshape(-1, 2)
        start = np.concatenate([start[device], waits[:, 0]])
        end = np.concatenate([end[device], waits[:, 1]])
    either = min(step, max(busy, _covered(start, end)))
    if step - either < _DUST * step:  # sums of many durations: what is left is rounding
        either = step
    if not hosted:
        return TimeFigures(busy, either - busy, step - either)
    host = min(either - busy, fsum((waits[:, 1] - waits[:, 0]).tolist()))
    return TimeFigures(busy, either - busy - host, step - either, host)


def _covered(start: NDArray[np.float64], end: NDArray[np.float64]) -> float:
    """Return the seconds that at least one of some intervals covers."""
    order = np.argsort(start, kind="stable")
    start, latest = start[order], np.maximum.accumulate(end[order])
    if not start.size:
        return 0.0
    # An interval adds what lies behind the latest end of all that started before it.
    from_ = np.maximum(start[1:], latest[:-1])
    return float(latest[0] - start[0] + np.maximum(latest[1:] - from_, 0.0).sum())


def received_by(
    timeline: Timeline, rank: int, as_stated: tuple[str, ...] = ()
) -> CommunicationFigures:
    """Return the bytes that a rank receives over the step, by collective."""
    program, mesh = timeline.programs.of(rank), timeline.mesh
    by_op: dict[str, float] = defaultdict(float)
    for message, lane, times in _said(program):
        each = received(message, program.lanes[lane], mesh, rank)
        by_op[message.collective] += times * each
    algorithms: dict[str, list[str]] = {op: [] for op in sorted(by_op)}
    for transfer in timeline.recorded:
        names = algorithms.setdefault(transfer.collective, [])
        if transfer.algorithm not in names:
            names.append(transfer.algorithm)
    total, ordered = sum(by_op.values()), dict(sorted(by_op.items()))
    return CommunicationFigures(total, ordered, algorithms, list(as_stated))


def _as_stated(timeline: Timeline, topology: Topology) -> tuple[str, ...]:
    """Return the calls that no constant of the profile is in, in words, each once."""
    calls = carried(timeline.recorded, topology)
    return tuple(dict.fromkeys(str(call) for call in calls if not call.fitted))


def _said(program: Program) -> Iterator[tuple[Message, int, int]]:
    """Yield messages, their lanes, and how often; layers repeat each other: a few are different."""
    columns, many = columns_of(program), len(program.lanes)
    found = np.unique(columns.message * many + columns.lanes, return_index=True, return_counts=True)
    for key, _, times in sorted(
        zip(*(part.tolist() for part in found), strict=True), key=itemgetter(1)
    ):
        message = columns.messages[key // many]
        if message is not None:
            yield message, key % many, times


def _flops_by_rank(timeline: Timeline) -> list[int]:
    axes = [axes_of(program) for program in timeline.programs.roles]
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    flops = []
    for rank, role in enumerate(timeline.programs.role_of_rank):
        place = tuple(timeline.mesh.coordinate(rank, axis) for axis in axes[role])
        key = (role, place)
        if key not in known:
            known[key] = _flops(timeline.programs.roles[role], timeline.mesh, rank)
        flops.append(known[key])
    return flops


def _flops(program: Program, mesh: Mesh, rank: int) -> int:
    works = works_of(program, mesh, rank)
    times = np.bincount(columns_of(program).work, minlength=len(works)).tolist()
    return sum(n * work.flops for n, work in zip(times, works, strict=True) if work is not None)
