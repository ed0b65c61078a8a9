"""Bounds of candidates that are pipelines: what their ranks hold, and lines of passes.

Nothing of a schedule is recorded. A rank's residents, and what replicas say once per step, are
those of the rank without any passes; what a pass takes, a layer tells that was recorded once
(`passes`); which passes follow each other, the schedule's order (`lines`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from tspsim.collectives.choose import Chooser
from tspsim.engine.tasks import Durations, predecessors
from tspsim.mesh import PP, Mesh
from tspsim.model import ModelShape, Recompute
from tspsim.plan.alike import of_one_kind
from tspsim.plan.least_memory import Held, held
from tspsim.plan.least_time import Clock, slowest
from tspsim.plan.lines import KINDS, Lines, lines
from tspsim.plan.passes import Costs, Place, Run, costs, record, runs
from tspsim.plan.question import Candidate, Question
from tspsim.program.stages import Stages
from tspsim.program.types import Program, Programs
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.stages import Pipeline


class _Layer(NamedTuple):
    """A layer in every pass, for all candidates that differ in nothing else."""

    program: Program
    runs: list[Run]
    before: list[set[int]]


class _Residents(NamedTuple):
    """Bytes that a rank always has: of every layer, and of the ends of the model."""

    layer: float
    ends: float


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
        self._residents: dict[tuple[StrategyOptions, bool, bool], _Residents] = {}
        self._held: dict[tuple[StrategyOptions, Recompute], Held] = {}
        self._frames: dict[tuple[StrategyOptions, tuple[int, ...]], Program] = {}
        self._layers: dict[Candidate, _Layer] = {}
        self._costs: dict[Candidate, tuple[Costs, ...]] = {}
        self._ends: dict[tuple[StrategyOptions, tuple[int, ...], int], float] = {}

    @property
    def _trains(self) -> bool:
        return self._question.base.workload.phase == "train"

    # ---- memory ------------------------------------------------------------------------------

    def memory(self, candidate: Candidate) -> float:
        """Return bytes that some rank has alive at some moment, at least.

        Activations grow with the micro-batch, what comes to them in backward does not shrink.
        """
        facts, bare = self._lines(candidate), _bare(candidate.strategy)
        always = self._always(candidate, facts, bare)
        if max(always) > self._question.free:
            return max(always)
        made, depths = self._holds(candidate, bare), np.array(self._depths(candidate, facts))
        kept = candidate.batch * made.kept * (facts.held @ depths)
        more = 0.0 if _splits(candidate) or not depths.all() else made.more
        return float((kept + more + np.array(always)).max())

    def _always(self, candidate: Candidate, facts: Lines, bare: StrategyOptions) -> list[float]:
        """Return the bytes that every place of the pipeline has all the time."""
        found = []
        for place in range(facts.order.ranks):
            layers, first, last, *_ = self._parts(candidate, facts, place)
            key = bare, bool(first), bool(last)
            if key not in self._residents:
                self._residents[key] = self._counted(facts, bare, place)
            found.append(self._residents[key].ends + layers * self._residents[key].layer)
        return found

    def _counted(self, facts: Lines, bare: StrategyOptions, place: int) -> _Residents:
        """Return what a place has with a layer of every part; of kinds of layers the least."""
        depth, model = facts.order.depth, self._question.base.model
        split = tuple(range(n, n + 1) for n in range(depth))
        inner, ends = [], 0.0
        for uniform in of_one_kind(model):
            program = self._empty(bare, facts, place, split, uniform)
            there = [buffer for buffer in program.buffers if buffer.resident]
            layers = len({buffer.layer for buffer in there} - {None})
            inner.append(sum(b.bytes for b in there if b.layer is not None) / layers)
            ends = sum(buffer.bytes for buffer in there if buffer.layer is None)
        return _Residents(min(inner), ends)

    def _holds(self, candidate: Candidate, bare: StrategyOptions) -> Held:
        """Return what a layer holds of one sequence."""
        key = bare, candidate.recompute
        if key not in self._held:
            base = self._question.base
            one = dataclasses.replace(candidate, batch=1, micro_batches=1)
            workload = one.workload(self._question)
            rows = [["F", "B"]] if self._trains else [["F"]]
            program = record(bare, base.model, workload, base.optimizer, rows)
            self._held[key] = held(program, runs(program, split=False))
        return self._held[key]

    # ---- time --------------------------------------------------------------------------------

    def seconds(self, candidate: Candidate) -> float:
        """Return seconds that a step takes at least."""
        facts = self._lines(candidate)
        by_place = self._costs_of(candidate)
        depths = self._depths(candidate, facts)
        taken, late = _taken(facts, by_place, depths)
        ends = [self._end(candidate, facts, rank) for rank in range(facts.order.ranks)]
        longest = 0.0
        for rank, end in enumerate(ends):
            whole, drained = (
                float((counts[rank] * taken).sum()) for counts in (facts.whole, facts.drained)
            )
            drained += float((facts.way[rank] * late).sum())
            layers = sum(depths[facts.order.part(stage)] for stage in facts.order.on(rank))
            said = by_place[rank].lane * layers * _rounds(candidate, facts)
            longest = max(longest, whole + end, drained + ends[facts.last[rank]], said)
        return longest

    def _costs_of(self, candidate: Candidate) -> tuple[Costs, ...]:
        """Return what every place of the pipeline takes, by a rank that computes longest."""
        key = _sketched(candidate, placed=True)
        if key not in self._costs:
            self._costs[key] = self._timed(candidate)
        return self._costs[key]

    def _timed(self, candidate: Candidate) -> tuple[Costs, ...]:
        layer, mesh = self._layer(candidate), candidate.strategy.mesh()
        programs = Programs((layer.program,), (0,) * mesh.ranks)
        scenario = candidate.scenario(self._question)
        dtype = scenario.workload.dtype
        durations = Durations(programs, mesh, scenario.topology, dtype)
        known: dict[tuple[float, ...], Costs] = {}
        found = []
        for rank in mesh.group(slowest(durations, mesh), PP):
            clock = Clock(scenario, mesh, self._planner, rank)
            seconds = tuple(clock.seconds(layer.program, durations.of(rank)))
            if seconds not in known:
                known[seconds] = costs(layer.program, layer.runs, layer.before, seconds)
            found.append(known[seconds])
        return tuple(found)

    def _end(self, candidate: Candidate, facts: Lines, place: int) -> float:
        """Return what the optimizer step takes; what replicas say may be hidden, or in parts."""
        if not self._trains:
            return 0.0
        parts = self._parts(candidate, facts, place)
        key = _bare(candidate.strategy, placed=True), parts, place
        if key not in self._ends:
            self._ends[key] = self._updated(candidate, facts, place)
        return self._ends[key]

    def _updated(self, candidate: Candidate, facts: Lines, place: int) -> float:
        mesh: Mesh = candidate.strategy.mesh()
        program = self._frame(candidate, facts, place)
        programs = Programs((program,), (0,) * mesh.ranks)
        scenario, rank = candidate.scenario(self._question), mesh.group(0, PP)[place]
        seconds = Durations(programs, mesh, scenario.topology, scenario.workload.dtype).of(rank)
        step = next(op.index for op in program.ops if op.phase == "optimizer" and not op.lane)
        return seconds[step]

    # ---- what is recorded --------------------------------------------------------------------

    def _lines(self, candidate: Candidate) -> Lines:
        return lines(_pipeline(candidate), candidate.micro_batches, trains=self._trains)

    def _depths(self, candidate: Candidate, facts: Lines) -> list[int]:
        """Return how many layers every part has."""
        return [len(part) for part in self._split(candidate, facts)]

    def _split(self, candidate: Candidate, facts: Lines) -> tuple[range, ...]:
        """Return the layers of every part."""
        split = _pipeline(candidate).split(self._question.base.model, facts.order.depth)
        assert split is not None
        return split

    def _parts(self, candidate: Candidate, facts: Lines, place: int) -> tuple[int, ...]:
        """Return what tells what a place holds: its layers, its parts, its layers with experts."""
        parts = {facts.order.part(stage) for stage in facts.order.on(place)}
        split = self._split(candidate, facts)
        layers = [layer for part in parts for layer in split[part]]
        ends = int(0 in parts), int(facts.order.depth - 1 in parts)
        experts = sum(self._question.base.model.experts_in(layer) is not None for layer in layers)
        return len(layers), *ends, len(parts), experts

    def _frame(self, candidate: Candidate, facts: Lines, place: int) -> Program:
        """Return the program of a place without its passes, whose gradients are one message."""
        bare = _bare(candidate.strategy)
        key = bare, self._parts(candidate, facts, place)
        if key not in self._frames:
            model, split = self._question.base.model, self._split(candidate, facts)
            whole = bare.model_copy(update={"bucket": math.inf})
            self._frames[key] = self._empty(whole, facts, place, split, model)
        return self._frames[key]

    def _empty(
        self,
        strategy: StrategyOptions,
        facts: Lines,
        place: int,
        split: tuple[range, ...],
        model: ModelShape,
    ) -> Program:
        base = self._question.base
        workload = dataclasses.replace(base.workload, batch=1, micro_batches=1)
        stages = Stages(facts.order, place, split, ())
        rank = strategy.rank(model, workload, base.optimizer, place, stages)
        strategy.step(rank)
        return rank.program()

    def _layer(self, candidate: Candidate) -> _Layer:
        key = _sketched(candidate)
        if key not in self._layers:
            base, workload = self._question.base, candidate.workload(self._question)
            rows = [["F", "I", "W"], ["F", "B"], ["F", "B"]] if self._trains else [["F"], ["F"]]
            program = record(key.strategy, base.model, workload, base.optimizer, rows)
            self._layers[key] = _Layer(program, runs(program, split=True), predecessors(program))
        return self._layers[key]


def _taken(
    facts: Lines, by_place: Sequence[Costs], depths: Sequence[int]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the seconds of every pass by kind and part, and those of gradients that are awaited.

    Of copies of a part, the least.
    """
    taken, late = (np.full((len(KINDS), facts.order.depth), math.inf) for _ in range(2))
    for stage, place in enumerate(facts.order.placement):
        part, own = facts.order.part(stage), by_place[place]
        ends: tuple[tuple[Place, bool], ...]
        ends = ("embedding", part == 0), ("head", part == facts.order.depth - 1)
        for row, kind in enumerate(KINDS):
            layer = own.passes.get((kind, 0), 0.0)
            seconds = depths[part] * layer
            seconds += sum(own.passes.get((kind, end), 0.0) for end, there in ends if there)
            early = layer - own.late.get(kind, 0.0) if depths[part] else 0.0
            taken[row, part] = min(taken[row, part], seconds)
            late[row, part] = min(late[row, part], seconds - early)
    return taken, late


def _rounds(candidate: Candidate, facts: Lines) -> float:
    """Return how many micro-batches go through a stage."""
    return candidate.micro_batches / facts.order.pipelines


def _pipeline(candidate: Candidate) -> Pipeline:
    assert candidate.strategy.pp is not None
    return candidate.strategy.pp


def _splits(candidate: Candidate) -> bool:
    """Whether some backward of the schedule has two halves."""
    pipeline = _pipeline(candidate)
    return pipeline.kind == "given" or pipeline.read_schedule().split


def _bare(strategy: StrategyOptions, *, placed: bool = False) -> StrategyOptions:
    """Return a strategy without the schedule of its pipeline, and without its placement."""
    assert strategy.pp is not None
    changes = {"pp": Pipeline(stages=strategy.pp.stages, overlap=strategy.pp.overlap)}
    return strategy.model_copy(update=changes if placed else {**changes, "placement": None})


def _sketched(candidate: Candidate, *, placed: bool = False) -> Candidate:
    """Return what candidates have in common of which a layer takes the same."""
    strategy = _bare(candidate.strategy, placed=placed)
    return dataclasses.replace(candidate, strategy=strategy, micro_batches=1)
