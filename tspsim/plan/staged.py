"""Bounds of candidates from the passes of their schedule: what ranks hold, and the longest way.

Nothing of a schedule is recorded. What a rank has all the time, and its optimizer step, are those
of a rank without passes (`standing`); what a pass takes and keeps, a layer tells that was recorded
once for all schedules, stages, replicas and ways of sharing (`passes`, `common`); what waits for
what, the schedule's order (`flow`). What replicas say is left out: it may be hidden, or in parts.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.choose import Chooser
from tspsim.engine.tasks import Durations, predecessors
from tspsim.mesh import PP
from tspsim.plan.common import least_work, recorded, without_schedule
from tspsim.plan.flow import KINDS, Flow, Times, flow
from tspsim.plan.least_memory import Gathered, Held, gathered, held
from tspsim.plan.least_time import Clock, slowest
from tspsim.plan.passes import FORWARD, PASSES, SPLIT, WHOLE, Costs, Place, Run, costs, record, runs
from tspsim.plan.pipelines import degrees
from tspsim.plan.question import Candidate, Question
from tspsim.plan.standing import Standing, Update, standing, update_of
from tspsim.program.stages import AtOnce
from tspsim.program.types import Program, Programs
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.stages import Pipeline
from tspsim.topology.hardware import Device, Roofline


class _Layer(NamedTuple):
    """A layer in every pass, for all candidates that differ in nothing else."""

    program: Program
    runs: list[Run]
    before: list[set[int]]
    held: Held


class _Shape(NamedTuple):
    """What a pipeline's schedule and split of the layers say, for any strategy.

    Attributes
    ----------
    facts : Flow
    depths : list of int
        Layers of every part.
    holds : list of (int, bool, bool)
        By rank: its layers, and whether it holds the first and the last one's end of the model.
    moments : ndarray of float, shape (5, moments of all ranks)
        How often each of `_sizes` is held.
    begins : list of int
        The first moment of every rank.
    """

    facts: Flow
    depths: list[int]
    holds: list[tuple[int, bool, bool]]
    moments: NDArray[np.float64]
    begins: list[int]


class Staged:
    """Bounds the pipelines of a question; it remembers what they have in common.

    Parameters
    ----------
    question : Question
    planner : Chooser
        Of the question's topology and collective algorithm.
    """

    def __init__(self, question: Question, planner: Chooser) -> None:
        self._question, self._planner = question, planner
        self._shapes: dict[tuple[Pipeline | None, int, AtOnce | None], _Shape] = {}
        self._standing: dict[Hashable, Standing] = {}
        self._updates: dict[Hashable, Update] = {}
        self._gathered: dict[StrategyOptions, Gathered] = {}
        self._layers: dict[Candidate, _Layer] = {}
        self._recorded: dict[Hashable, int] = {}
        self._forms: dict[type[StrategyOptions], bool] = {}
        self._halves = degrees(question) != [1]
        self._costs: dict[Hashable, tuple[Costs, ...]] = {}
        self._ways: dict[Hashable, list[float]] = {}
        self._rooflines: dict[Device, Roofline] = {}

    @property
    def _trains(self) -> bool:
        return self._question.base.workload.phase == "train"

    def knows(self, candidate: Candidate) -> bool:
        """Whether a strategy's passes can be told apart: it records them as a schedule asks."""
        form = type(candidate.strategy)
        if form not in self._forms:
            one = dataclasses.replace(candidate, strategy=recorded(candidate.strategy))
            self._forms[form] = bool(self._program(one).actions)
        return self._forms[form]

    # ---- memory ------------------------------------------------------------------------------

    def memory(self, candidate: Candidate) -> float:
        """Return bytes that some rank has alive at some moment, at least."""
        shape, bare = self._shape(candidate), without_schedule(candidate.strategy)
        always = np.array([
            self._stands(bare, shape, place).bytes(layers)
            for place, (layers, _, _) in enumerate(shape.holds)
        ])  # fmt: skip
        if always.max() > self._question.free:
            return float(always.max())
        least = 0.0
        for own, stays in self._known(candidate, bare):
            sizes = np.array([own.kept, own.halved, stays.begun, stays.added, own.more])
            passing = np.maximum.reduceat(sizes @ shape.moments, shape.begins)
            least = float((always + passing).max())
            if least > self._question.free:
                break
        return least

    def _known(
        self, candidate: Candidate, bare: StrategyOptions
    ) -> Iterator[tuple[Held, Gathered]]:
        """Yield what passes hold, at least: first what a smaller micro-batch tells of it."""
        key = recorded(candidate.strategy), candidate.recompute
        batch = self._recorded.setdefault(key, candidate.batch)
        if batch < candidate.batch:
            first = self._layer(dataclasses.replace(candidate, batch=batch)).held
            yield first.times(candidate.batch / batch), Gathered()
        own = self._layer(candidate).held
        yield own, Gathered()
        yield own, self._stays(bare)

    def _stands(self, bare: StrategyOptions, shape: _Shape, place: int) -> Standing:
        key = bare, shape.holds[place][1:]
        if key not in self._standing:
            order = shape.facts.order
            self._standing[key] = standing(self._question.base, bare, order, place)
        return self._standing[key]

    def _stays(self, bare: StrategyOptions) -> Gathered:
        """Return what stays of a layer between micro-batches, whatever their size."""
        if bare.zero < 2 or bare.pp is None or not self._trains:
            return Gathered()
        one = Candidate(recorded(bare, bare.zero), 1, 1, self._question.recompute[0])
        if one.strategy not in self._gathered:
            program = self._program(one)
            self._gathered[one.strategy] = gathered(program, runs(program, SPLIT))
        return self._gathered[one.strategy]

    # ---- time --------------------------------------------------------------------------------

    def seconds(self, candidate: Candidate) -> float:
        """Return seconds that a step takes at least."""
        ends = self._way(candidate)
        if not self._trains:
            return max(ends)
        shape, bare = self._shape(candidate), without_schedule(candidate.strategy)
        devices, mesh = self._question.base.topology.devices, candidate.strategy.mesh()
        ranks = mesh.group(0, PP)
        updates = (self._update(bare, shape, n, devices[rank]) for n, rank in enumerate(ranks))
        return max(map(sum, zip(ends, updates, strict=True)))

    def _update(self, bare: StrategyOptions, shape: _Shape, place: int, device: Device) -> float:
        """Return what the optimizer step takes; what replicas say may be hidden, or in parts."""
        layers, *ends = shape.holds[place]
        key = bare, *ends
        base, order = self._question.base, shape.facts.order
        if key not in self._updates:
            self._updates[key] = update_of(base, bare, order, place)
        if device not in self._rooflines:
            profile, dtype = base.topology.profile, base.workload.dtype
            self._rooflines[device] = Roofline(device, profile, dtype)
        return self._updates[key].seconds(layers, self._rooflines[device])

    def _way(self, candidate: Candidate) -> list[float]:
        """Return when every rank has done its passes; ways of sharing have this in common."""
        alike = candidate.strategy.model_copy(update={"zero": 0, "pp": None})
        timed = alike, candidate.recompute, candidate.batch
        pipeline = candidate.strategy.pp
        key = *timed, pipeline, candidate.micro_batches
        if key not in self._ways:
            shape, stages = self._shape(candidate), pipeline and pipeline.stages
            if (*timed, stages) not in self._costs:
                self._costs[*timed, stages] = self._timed(candidate)
            self._ways[key] = _passed(candidate, shape, self._costs[*timed, stages])
        return self._ways[key]

    def _timed(self, candidate: Candidate) -> tuple[Costs, ...]:
        """Return what every place of the pipeline takes, by a rank that computes longest."""
        layer, mesh = self._layer(candidate), candidate.strategy.mesh()
        programs = Programs((layer.program,), (0,) * mesh.ranks)
        scenario = candidate.scenario(self._question)
        durations = Durations(programs, mesh, scenario.topology, scenario.workload.dtype)
        known: dict[tuple[float, ...], Costs] = {}
        found = []
        for rank in mesh.group(slowest(durations, mesh), PP):
            clock = Clock(scenario, mesh, self._planner, rank)
            seconds = tuple(clock.seconds(layer.program, durations.of(rank)))
            if seconds not in known:
                known[seconds] = costs(layer.program, layer.runs, layer.before, seconds)
            found.append(known[seconds])
        return tuple(found)

    # ---- what candidates have in common --------------------------------------------------------

    def _shape(self, candidate: Candidate) -> _Shape:
        pipeline, model = candidate.strategy.pp, self._question.base.model
        overlap = candidate.strategy.spread.overlap
        key = pipeline, candidate.micro_batches, overlap
        if key not in self._shapes:
            facts = flow(*key, trains=self._trains)
            split = pipeline.split(model, facts.order.depth) if pipeline else (range(model.layers),)
            assert split is not None
            self._shapes[key] = _shaped(facts, [len(part) for part in split])
        return self._shapes[key]

    def _layer(self, candidate: Candidate) -> _Layer:
        strategy = recorded(candidate.strategy)
        key = dataclasses.replace(candidate, strategy=strategy, micro_batches=1)
        if key not in self._layers:
            program = self._program(key)
            (light,) = least_work(Programs((program,), (0,))).roles
            made = runs(program, SPLIT if self._halves else None)
            self._layers[key] = _Layer(light, made, predecessors(light), held(program, made))
        return self._layers[key]

    def _program(self, candidate: Candidate) -> Program:
        base, workload = self._question.base, candidate.workload(self._question)
        rows = (PASSES if self._halves else WHOLE) if self._trains else FORWARD
        return record(candidate.strategy, base.model, workload, base.optimizer, rows)


def _shaped(facts: Flow, depths: list[int]) -> _Shape:
    holds, columns = [], []
    for moments in facts.moments:
        layers = np.array([depths[part] for part in moments.parts])
        ends = 0 in moments.parts, facts.order.depth - 1 in moments.parts
        holds.append((int(layers.sum()), *ends))
        works = moments.works * all(depths)
        counts = (moments.held, moments.halved, moments.begun, moments.added)
        columns.append(np.stack([*(count @ layers for count in counts), works]))
    begins = np.cumsum([0, *(column.shape[1] for column in columns[:-1])]).tolist()
    return _Shape(facts, depths, holds, np.concatenate(columns, axis=1).astype(float), begins)


def _passed(candidate: Candidate, shape: _Shape, by_place: Sequence[Costs]) -> list[float]:
    """Return when every rank has done its passes, or has said on one lane what it has to say."""
    facts, ends = shape.facts, shape.facts.ends(*_times(shape.facts, by_place, shape.depths))
    rounds = candidate.micro_batches / facts.order.pipelines
    for rank, own in enumerate(by_place):
        layers = sum(shape.depths[facts.order.part(stage)] for stage in facts.order.on(rank))
        ends[rank] = max(ends[rank], own.lane * layers * rounds)
    return ends


def _times(
    facts: Flow, by_place: Sequence[Costs], depths: Sequence[int]
) -> tuple[Times, Times, Times]:
    """Return the seconds of every pass by kind and stage: see `Flow.ends`."""
    taken: list[list[float]] = [[] for _ in KINDS]
    computed: list[list[float]] = [[] for _ in KINDS]
    late: list[list[float]] = [[] for _ in KINDS]
    for stage, place in enumerate(facts.order.placement):
        part, own = facts.order.part(stage), by_place[place]
        ends: tuple[tuple[Place, bool], ...]
        ends = ("embedding", part == 0), ("head", part == facts.order.depth - 1)
        for row, kind in enumerate(KINDS):
            counts: list[tuple[Place, int]] = [(0, depths[part]), *ends]
            seconds, busy = (
                sum(count * found.get((kind, at), 0.0) for at, count in counts)
                for found in (own.passes, own.computed)
            )
            layer = own.passes.get((kind, 0), 0.0)
            early = layer - own.late.get(kind, 0.0) if depths[part] else 0.0
            taken[row].append(seconds)
            computed[row].append(busy)
            late[row].append(seconds - early)
    return taken, computed, late
