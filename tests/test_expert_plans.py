"""Plans of models with experts: bounds hold, every layout is tried, nothing best is left out."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tspsim
from tests.mixtures import mixture
from tests.test_plan import FABRICS, FIXTURES, exhaustive, numbers
from tspsim.plan.placements import Placements
from tspsim.plan.question import Question, ask
from tspsim.plan.search import plan
from tspsim.plan.sizes import sizes
from tspsim.plan.space import Space, enumerate_space
from tspsim.plan.work import Worker, simulated
from tspsim.program.types import BUFFER_KINDS, Buffer, Program
from tspsim.program.varying import Varying
from tspsim.reports.plan_table import how
from tspsim.scenario.loader import Opened
from tspsim.strategies.parts.spread import LAYOUTS

ROUTINGS: tuple[Any, ...] = (
    "balanced", {"kind": "power_law", "exponent": 1.5}, {"kind": "power_law", "capacity": 1.0},
)  # fmt: skip


def question(
    fabric: str = "switch", batch: int = 4, fixed: dict[str, Any] | None = None, **changes: Any
) -> Question:
    """Return what a small mixture asks, without a pipeline unless `fixed` says more of one."""
    whole = mixture(**changes) | {"topology": FABRICS[fabric]}
    del whole["strategy"]
    more = {"recompute": "none"} if fixed and fixed.pop("plain", None) else {}
    return ask(Opened.document(whole).data(), {"pp": None, **(fixed or {})}, batch, **more)  # type: ignore[arg-type]


# ---- the bounds ----------------------------------------------------------------------------------


@settings(max_examples=10, deadline=None, suppress_health_check=[FIXTURES])
@given(
    experts=st.fixed_dictionaries(
        {
            "count": st.sampled_from([2, 4]),
            "shared": st.sampled_from([0, 64]),
            "first_dense": st.integers(0, 2),
            "every": st.sampled_from([1, 1, 2]),
        }
    ),
    layers=st.integers(4, 5),
    routing=st.sampled_from(ROUTINGS),
    phase=st.sampled_from(["train", "train", "forward"]),
    fabric=st.sampled_from(list(FABRICS)),
    piped=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_no_candidate_is_better_than_its_bounds(
    experts: dict[str, Any], layers: int, routing: Any, phase: str, fabric: str, piped: bool,
    seed: int,
) -> None:  # fmt: skip
    """However layers differ, wherever experts lie, and however unevenly tokens spread over them."""
    work = {"sequence": 64, "phase": phase, "routing": routing}
    fixed = {"pp": {}} if piped else {}
    asked = question(fabric, 4, fixed, experts=experts, model={"layers": layers}, workload=work)
    space = enumerate_space(asked).candidates
    for candidate in random.Random(seed).sample(space, 3):  # noqa: S311
        (bound,) = Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        peak = sum(figures["memory"]["at_peak"][kind] for kind in BUFFER_KINDS)
        assert 0.1 * figures["step_time"] < bound.seconds <= figures["step_time"]
        assert 0.1 * peak < bound.memory <= peak


@pytest.mark.parametrize("overlap", ["two_batches", "forward_backward"])
def test_two_micro_batches_at_once_are_no_better_than_their_bounds(overlap: str) -> None:
    """While one waits the other computes, and what one frees the other keeps."""
    fixed = {"kind": "tsp", "plain": True, "experts": {"overlap": overlap}}
    asked = question("nodes", 4, fixed)
    space = enumerate_space(asked).candidates
    assert space
    for candidate in space[:: max(1, len(space) // 4)]:
        (bound,) = Worker(asked).bounds([candidate])
        figures = simulated(asked, candidate).figures
        assert figures is not None
        peak = sum(figures["memory"]["at_peak"][kind] for kind in BUFFER_KINDS)
        assert 0.1 * figures["step_time"] < bound.seconds <= figures["step_time"]
        assert 0.1 * peak < bound.memory <= peak


def test_memory_is_that_of_one_rank() -> None:
    """Not the largest of every buffer, which may be on different ranks; of mixed axes the least."""
    many, few = Varying("tsp", (6, 2)), Varying("tsp", (1, 4))
    assert sizes(_holding(many, few, 5)).tolist() == [6, 1, 5]
    both = Varying(("dp", "tsp"), (1, 9, 3, 4))
    assert sizes(_holding(many, both)).tolist() == [2, 1]


def _holding(*amounts: int) -> Program:
    """Return a program of buffers of so many bytes, and nothing else."""
    buffers = (Buffer(n, "x", (size,), 1, "activation", 0, False) for n, size in enumerate(amounts))
    return Program((), tuple(buffers), (), ())


# ---- the search ----------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", [ROUTINGS[0], ROUTINGS[1]])
def test_pruning_never_loses_the_best(routing: Any) -> None:
    """With every layout in the space the best are those of simulating everything."""
    work = {"sequence": 256, "routing": routing}
    fixed = {"kind": "tsp", "zero": 1, "head_buckets": 1, "placement": ["tsp", "dp"], "plain": True}
    asked = question("nodes", 2, fixed, workload=work)
    answer, found = plan(asked, top=3), exhaustive(asked, "throughput")
    assert numbers(asked, answer) == [number for _, number in found[:3]]
    assert answer.counts.simulated < answer.counts.candidates


def spreads(space: Space, kind: str, dp: int) -> set[str | None]:
    """Return the spreads of experts that are tried for a strategy with so many replicas."""
    own = (c.strategy for c in space.candidates if c.family == kind and c.strategy.dp == dp)
    return {s.experts.text() if s.experts else None for s in own}


def test_every_layout_is_tried_over_own_axes_and_over_replicas_too() -> None:
    """Tokens over own axes is the default; of replicas alone every one may hold all experts."""
    space = enumerate_space(question())
    assert spreads(space, "tsp", 1) == {None, "ring", "tensor"}
    over = {f"{layout} over tsp, dp" for layout in LAYOUTS}
    assert spreads(space, "tsp", 2) == {None, "ring", "tensor", *over}
    assert spreads(space, "dp", 4) == {None, *(f"{layout} over dp" for layout in LAYOUTS)}
    ring = {c.strategy.sequence_parallel for c in space.candidates  # type: ignore[attr-defined]
            if c.family == "tp" and c.strategy.spread.layout == "ring"}  # fmt: skip
    assert ring == {True}


def test_experts_lie_over_as_many_replicas_as_divide_them() -> None:
    """Two experts over two of four replicas: blocks of neighbours hold both."""
    space = enumerate_space(question(experts={"count": 2}))
    assert "tokens over dp of 2" in spreads(space, "dp", 4)
    assert "tensor over dp" in spreads(space, "dp", 4)


def test_a_layout_that_is_refused_is_named_with_its_reason() -> None:
    """Weights go round among ranks with tokens of their own: not under plain TP."""
    space = enumerate_space(question(fixed={"kind": "tp", "degree": 4, "sequence_parallel": False}))
    assert set(space.refused) == {"tp, experts ring"}
    assert "ranks along tp hold the same tokens" in space.refused["tp, experts ring"]


def test_what_is_stated_of_experts_is_not_varied() -> None:
    """One layout alone, and its name in the table is short."""
    asked = question(fixed={"kind": "tsp", "experts": {"layout": "ring", "over": ["tsp", "dp"]}})
    space = enumerate_space(asked)
    assert spreads(space, "tsp", 2) == {"ring over tsp, dp"}
    assert "experts ring over tsp, dp" in how(space.candidates[0])


def test_every_candidate_is_a_scenario_that_loads_and_runs_as_planned() -> None:
    """A candidate's document, loaded as a scenario, gives the figures that the plan gave."""
    asked = question("nodes", experts={"count": 2})
    for candidate in enumerate_space(asked).candidates[::197]:
        figures = simulated(asked, candidate).figures
        assert figures is not None
        again = tspsim.run(candidate.scenario(asked).document).summary.to_dict()
        assert again["step_time"] == figures["step_time"]


def test_blocks_of_replicas_have_the_placements_of_all_replicas() -> None:
    """How many of them hold all experts together is no axis that could lie elsewhere."""
    asked = question("nodes", experts={"count": 2}, fixed={"kind": "tsp"})
    places = Placements(asked.base.topology)
    by_mesh: dict[Any, set[Any]] = {}
    for candidate in enumerate_space(asked).candidates:
        strategy = candidate.strategy.model_copy(update={"placement": None})
        found = by_mesh.setdefault((strategy.axes(), strategy.dp), set())
        found.add(tuple(places.orders(strategy)))
    assert all(len(orders) == 1 for orders in by_mesh.values())
