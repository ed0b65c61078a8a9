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
from tspsim.mesh import DP, PP, Mesh
from tspsim.plan.least_memory import Held, held, resident
from tspsim.plan.least_time import Clock, slowest
from tspsim.plan.lines import KINDS, Lines, lines
from tspsim.plan.passes import Costs, Run, costs, record, runs
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
    held: Held


class _Frame(NamedTuple):
    """What a rank has and says beside its passes."""

    program: Program
    resident: float


class _End(NamedTuple):
    """Seconds in which replicas speak before the optimizer step, of it, and after it."""

    reduced: float
    updated: float
    gathered: float


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
        self._frames: dict[tuple[StrategyOptions, tuple[int, ...]], _Frame] = {}
        self._layers: dict[tuple[Candidate, bool], _Layer] = {}
        self._costs: dict[tuple[Candidate, bool], tuple[Costs, ...]] = {}
        self._ends: dict[tuple[StrategyOptions, tuple[int, ...], int], _End] = {}

    @property
    def _trains(self) -> bool:
        return self._question.base.workload.phase == "train"

    # ---- memory ------------------------------------------------------------------------------

    def residents(self, candidate: Candidate) -> float:
        """Return the bytes that some rank has all the time."""
        facts = self._lines(candidate)
        ranks = range(facts.order.ranks)
        return max(self._frame(candidate, facts, rank).resident for rank in ranks)

    def memory(self, candidate: Candidate) -> float:
        """Return bytes that some rank has alive at some moment, at least."""
        facts, made = self._lines(candidate), self._layer(candidate).held
        depths = np.array(self._depths(candidate, facts))
        most = 0.0
        for rank, own in enumerate(facts.held):
            alive = made.kept * float(own @ depths)
            more = made.more if min(depths[own > 0], default=0) else 0.0
            most = max(most, self._frame(candidate, facts, rank).resident + alive + more)
        return most

    # ---- time --------------------------------------------------------------------------------

    def seconds(self, candidate: Candidate) -> float:
        """Return seconds that a step takes at least."""
        facts = self._lines(candidate)
        by_place = self._costs_of(candidate)
        depths = self._depths(candidate, facts)
        taken = _taken(facts, by_place, depths)
        ends = [self._end(candidate, facts, rank) for rank in range(facts.order.ranks)]
        early = self._early(candidate)
        longest = 0.0
        for rank, end in enumerate(ends):
            behind = end.updated + end.gathered
            whole, begun, drained = (
                float((counts[rank] * taken).sum())
                for counts in (facts.whole, facts.begun, facts.drained)
            )
            if not early:
                whole += end.reduced
            elif len(facts.order.on(rank)) == 1:
                whole = max(whole, begun + end.reduced)
            other = ends[facts.last[rank]]
            layers = sum(depths[facts.order.part(stage)] for stage in facts.order.on(rank))
            said = by_place[rank].lane * layers * _rounds(candidate, facts)
            longest = max(longest, whole + behind, drained + other.updated + other.gathered, said)
        return longest

    def _early(self, candidate: Candidate) -> bool:
        """Whether gradients are reduced as soon as they are there."""
        stated = candidate.strategy.overlap_gradients
        return candidate.strategy.zero == 0 if stated is None else stated

    def _costs_of(self, candidate: Candidate) -> tuple[Costs, ...]:
        """Return what every place of the pipeline takes, by a rank that computes longest."""
        key = _sketched(candidate, placed=True), _splits(candidate)
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

    def _end(self, candidate: Candidate, facts: Lines, place: int) -> _End:
        if not self._trains:
            return _End(0.0, 0.0, 0.0)
        parts = self._parts(candidate, facts, place)
        key = _bare(candidate.strategy, placed=True), parts, place
        if key not in self._ends:
            self._ends[key] = self._spoken(candidate, facts, place)
        return self._ends[key]

    def _spoken(self, candidate: Candidate, facts: Lines, place: int) -> _End:
        mesh: Mesh = candidate.strategy.mesh()
        program = self._frame(candidate, facts, place).program
        programs = Programs((program,), (0,) * mesh.ranks)
        scenario, rank = candidate.scenario(self._question), mesh.group(0, PP)[place]
        compute = Durations(programs, mesh, scenario.topology, scenario.workload.dtype).of(rank)
        seconds = Clock(scenario, mesh, self._planner, rank).seconds(program, compute)
        step = next(op.index for op in program.ops if op.phase == "optimizer" and not op.lane)
        apart = {i for i, lane in enumerate(program.lanes) if DP in lane.axes}
        said = [s if op.lane in apart else 0.0 for op, s in zip(program.ops, seconds, strict=True)]
        opening = program.opening
        return _End(sum(said[opening:step]), seconds[step], sum(said[step + 1 :]))

    # ---- what is recorded --------------------------------------------------------------------

    def _lines(self, candidate: Candidate) -> Lines:
        return lines(_pipeline(candidate), candidate.micro_batches, trains=self._trains)

    def _depths(self, candidate: Candidate, facts: Lines) -> list[int]:
        """Return how many layers every part has."""
        split = _pipeline(candidate).split(self._question.base.model, facts.order.depth)
        assert split is not None
        return [len(part) for part in split]

    def _parts(self, candidate: Candidate, facts: Lines, place: int) -> tuple[int, ...]:
        """Return what tells what a place holds: its parts, and the layers of all."""
        parts = {facts.order.part(stage) for stage in facts.order.on(place)}
        depths = self._depths(candidate, facts)
        held_layers = sum(depths[part] for part in parts)
        return held_layers, int(0 in parts), int(facts.order.depth - 1 in parts), len(parts)

    def _frame(self, candidate: Candidate, facts: Lines, place: int) -> _Frame:
        strategy = _bare(candidate.strategy)
        key = strategy, self._parts(candidate, facts, place)
        if key not in self._frames:
            base, workload = self._question.base, candidate.workload(self._question)
            split = _pipeline(candidate).split(base.model, facts.order.depth)
            assert split is not None
            stages = Stages(facts.order, place, split, ())
            whole = strategy.model_copy(update={"bucket": math.inf})
            short = dataclasses.replace(workload, batch=1, micro_batches=1)
            rank = whole.rank(base.model, short, base.optimizer, place, stages)
            whole.step(rank)
            program = rank.program()
            self._frames[key] = _Frame(program, resident(program))
        return self._frames[key]

    def _layer(self, candidate: Candidate) -> _Layer:
        split = _splits(candidate)
        key = _sketched(candidate), split
        if key not in self._layers:
            base, workload = self._question.base, candidate.workload(self._question)
            program = record(key[0].strategy, base.model, workload, base.optimizer, split=split)
            made = runs(program, split=split)
            self._layers[key] = _Layer(program, made, predecessors(program), held(program, made))
        return self._layers[key]


def _taken(
    facts: Lines, by_place: Sequence[Costs], depths: Sequence[int]
) -> NDArray[np.float64]:
    """Return the seconds of every pass, by kind and part; of copies of a part, the least."""
    taken = np.full((len(KINDS), facts.order.depth), math.inf)
    for stage, place in enumerate(facts.order.placement):
        part, passes = facts.order.part(stage), by_place[place].passes
        ends = [("embedding", part == 0), ("head", part == facts.order.depth - 1)]
        for row, kind in enumerate(KINDS):
            seconds = depths[part] * passes.get((kind, 0), 0.0)
            seconds += sum(passes.get((kind, end), 0.0) for end, there in ends if there)  # type: ignore[arg-type]
            taken[row, part] = min(taken[row, part], seconds)
    return taken


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
