"""Every way of running a step: meshes, placements, options and micro-batches that divide."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from tspsim.plan.pipelines import degrees as stage_counts
from tspsim.plan.pipelines import pipelines
from tspsim.plan.placements import Placements
from tspsim.plan.question import REPLICAS, WHOLE, Candidate, Question, asked_kinds
from tspsim.registry import STRATEGIES
from tspsim.strategies.base import StrategyOptions
from tspsim.strategies.parts.placement import placement_problems
from tspsim.strategies.parts.stages import Pipeline


@dataclass(frozen=True, slots=True, eq=False)
class Space:
    """The candidates of a question.

    Parameters
    ----------
    candidates : list of Candidate
        In the order in which they are enumerated, which breaks ties.
    refused : dict of str to str
        By strategy, and by layout of experts: why none of its meshes divides. Only those without
        any candidate.
    """

    candidates: list[Candidate]
    refused: dict[str, str]


def enumerate_space(question: Question, placements: Placements | None = None) -> Space:
    """Return every candidate that divides, whether or not it fits.

    Parameters
    ----------
    question : Question
    placements : Placements, optional
        Which orders of axes differ; made when not given.
    """
    places = placements or Placements(question.base.topology)
    reasons: dict[str, str] = {}
    weak: dict[str, str] = {}
    candidates: list[Candidate] = []
    for strategy in _strategies(question, reasons, weak):
        candidates.extend(_batched(question, strategy, places, reasons))
    there = {name for candidate in candidates for name in (candidate.family, named(candidate))}
    told = sorted({**weak, **reasons}.items())
    return Space(candidates, {name: why for name, why in told if name not in there})


def named(candidate: Candidate) -> str:
    """Return the family of a candidate, with the layout of experts if one is stated."""
    spread = candidate.strategy.experts
    return candidate.family if spread is None else f"{candidate.family}, experts {spread.layout}"


def _batched(
    question: Question, strategy: StrategyOptions, places: Placements, reasons: dict[str, str]
) -> Iterator[Candidate]:
    """Yield a strategy with every recomputation, micro-batch and placement."""
    for recompute in question.recompute:
        for batch in _divisors(question.batch // strategy.dp):
            micro_batches = question.batch // strategy.dp // batch
            if micro_batches > 1 and not question.accumulate:
                continue
            candidate = Candidate(strategy, batch, micro_batches, recompute)
            workload = candidate.workload(question)
            wrong = next(iter(strategy.all_problems(question.base.model, workload)), None)
            if wrong is not None:
                reasons.setdefault(named(candidate), wrong.message)
                continue
            for order in places.orders(strategy):
                placed = strategy.model_copy(update={"placement": order})
                yield Candidate(placed, batch, micro_batches, recompute)


def _strategies(
    question: Question, reasons: dict[str, str], weak: dict[str, str]
) -> Iterator[StrategyOptions]:
    """Yield every strategy with every degree and option, without placement.

    That replicas do not divide the batch is a weak reason: any other tells more.
    """
    for name in asked_kinds(question.fixed) or [REPLICAS, *_with_axes()]:
        kind = WHOLE if name == REPLICAS else name
        form: type[StrategyOptions] = STRATEGIES.get(kind)
        weak[name] = f"no degrees make {question.devices} ranks"
        for stages, degrees in _meshes(question, form, whole=name == REPLICAS):
            if question.batch % degrees["dp"]:
                plural = "s" if question.batch > 1 else ""
                told = f"replicas do not divide {question.batch} sequence{plural} a step"
                weak[name] = f"{degrees['dp']} {told}"
                continue
            piped = list(pipelines(question, stages))
            for options in _options(question, form, degrees, stages):
                chosen = _agreeing(form, {**options, **degrees}, question.fixed)
                for pipeline in piped:
                    yield from _valid(kind, name, chosen, pipeline, reasons)


def _with_axes() -> list[str]:
    """Return the strategies that are more than replicas."""
    return [name for name in STRATEGIES.names() if STRATEGIES.get(name).degrees()]


def _agreeing(
    form: type[StrategyOptions], options: dict[str, Any], fixed: Mapping[str, Any]
) -> dict[str, Any]:
    """Return options without those of the scenario's own that contradict what is varied."""
    try:
        found = form.model_validate(options)
    except ValidationError:
        return options
    wrong = {problem.path[1] for problem in found.replica_problems()} - set(fixed)
    return {name: value for name, value in options.items() if name not in wrong}


def _valid(
    kind: str,
    family: str,
    options: dict[str, Any],
    pipeline: Pipeline | None,
    reasons: dict[str, str],
) -> Iterator[StrategyOptions]:
    form: type[StrategyOptions] = STRATEGIES.get(kind)
    try:
        found = form.model_validate({"kind": kind, **options, "pp": pipeline})
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        reasons.setdefault(family, told)
        return
    stages = pipeline.stages if pipeline else 1
    placed = placement_problems(found.axes(), found.dp, found.placement, stages)
    wrong = next(itertools.chain(placed, found.replica_problems()), None)
    if wrong is None:
        yield found
    else:
        reasons.setdefault(family, f"{wrong.path[1]}: {wrong.message}")


def _meshes(
    question: Question, form: type[StrategyOptions], *, whole: bool
) -> Iterator[tuple[int, dict[str, int]]]:
    """Yield stages, and degrees that multiply to a stage's devices, replicas included."""
    for stages in stage_counts(question):
        devices = question.devices // stages
        yield from ((stages, found) for found in _within(question, form, devices, whole=whole))


def _within(
    question: Question, form: type[StrategyOptions], devices: int, *, whole: bool
) -> Iterator[dict[str, int]]:
    names, least = form.degrees(), 2
    wanted = {k: v for k, v in question.fixed.items() if k in (*names, "dp")}
    for degrees in itertools.product(_divisors(devices), repeat=len(names)):
        own = dict(zip(names, degrees, strict=True))
        ranks = form.replica(own)
        if devices % ranks:
            continue
        apart = (
            ranks == 1
            if whole
            else min(degrees, default=least) >= least or ranks > math.prod(degrees)
        )
        found = {**own, "dp": devices // ranks}
        if apart and all(found[key] == value for key, value in wanted.items()):
            yield found


def _options(
    question: Question, form: type[StrategyOptions], degrees: Mapping[str, int], stages: int
) -> Iterator[dict[str, Any]]:
    """Yield every combination of the options that are varied, with those that are kept."""
    fields = form.model_fields
    varied = form.choices(question.base.model, degrees)
    if question.devices == stages * degrees["dp"]:
        # The whole model on every rank: nothing to exchange, but for experts.
        varied = {name: varied[name] for name in ("zero", "experts") if name in varied}
    skipped = {"kind", "placement", "pp", *degrees, *varied}
    kept = {k: v for k, v in question.options.items() if k in fields and k not in skipped}
    kept |= {k: v for k, v in question.fixed.items() if k in fields and k not in ("kind", "pp")}
    open_ = {k: v for k, v in varied.items() if k not in question.fixed}
    for values in itertools.product(*open_.values()):
        yield {**kept, **dict(zip(open_, values, strict=True))}


def _divisors(number: int) -> list[int]:
    return [d for d in range(1, number + 1) if number % d == 0]
