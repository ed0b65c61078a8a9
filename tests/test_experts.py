"""The proof of experts: every layout computes what the dense loop over experts computes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from tests.differences import check_gradients
from tests.experts import (
    BALANCED,
    BARE,
    EMPTY,
    GPT_OSS,
    PAIRS,
    SETTINGS,
    SIGMOID,
    SKEWED,
    SOFTMAX,
    mixture,
)
from tspsim.experts import Router
from tspsim.kernels import PRESETS
from tspsim.model import ModelShape, Workload
from tspsim.testing import Case
from tspsim.testing.checks import check_calls, check_folds, check_values
from tspsim.values.dense import Dense, initial
from tspsim.values.routes import Routes, routes


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize(("strategy", "layout"), PAIRS)
def test_a_training_step_computes_the_dense_loops_numbers(
    strategy: str, layout: str, setting: str
) -> None:
    """Loss, output, input gradient and every weight gradient agree to 1e-10."""
    check_values(mixture(strategy, layout, *SETTINGS[setting]))


@pytest.mark.parametrize("recompute", ["none", "selective"])
@pytest.mark.parametrize("layout", ["tokens", "tensor", "ring", "columns"])
def test_recomputation_changes_no_number(layout: str, recompute: Any) -> None:
    """With a gate, capacity and empty experts under TSP; above, backward runs everything again."""
    check_values(mixture("tsp", layout, SIGMOID, replace(EMPTY, recompute=recompute)))


@pytest.mark.parametrize("layout", ["tokens", "tensor", "ring", "columns"])
def test_where_gradients_are_added_by_their_own_kernel_those_of_experts_are(layout: str) -> None:
    """As those of a dense MLP, in torch: a product, and a sum of what it gave."""
    made = mixture("tsp", layout, SOFTMAX, replace(SKEWED, kernels=PRESETS["torch-eager"]))
    check_values(made)
    kernels = [(op.kind.text(), op.label) for op in made.programs.of(0).ops]
    sums = {label for _, label in kernels if label.startswith("add.dexperts.")}
    assert sums == {"add.dexperts.down", "add.dexperts.gate", "add.dexperts.up"}
    assert not [text for text, _ in kernels if text == "grouped_matmul(aᵀ·b, +=)"]


@pytest.mark.parametrize("layout", ["tokens", "tensor", "ring", "columns"])
def test_a_forward_pass_computes_the_dense_loops_output(layout: str) -> None:
    """The forward phase alone agrees too."""
    check_values(mixture("tsp", layout, SOFTMAX, replace(SKEWED, phase="forward")))


@pytest.mark.parametrize(("layout", "slots"), [("ring", 3), ("columns", 4)])
def test_weights_that_are_fetched_further_ahead_are_the_same(layout: str, slots: int) -> None:
    """More places for travelling weights, up to one for every shard."""
    check_values(mixture("tsp", layout, spread={"slots": slots}))


@pytest.mark.parametrize("layout", ["tokens", "tensor", "ring"])
def test_one_rank_of_all_experts_needs_nobody(layout: str) -> None:
    """At degree 1 nothing is sent, and the numbers are the same."""
    made = mixture("tsp", layout, degree=1)
    assert not any(op.message for op in made.programs.roles[0].ops)
    check_values(made)


#: Schedules with whole and with split backwards, and how experts lie under each.
STAGED = [
    ("tsp", "tokens", "1f1b", {}),
    ("tsp", "ring", "1f1b", {}),
    ("tsp", "tokens", "zb_h1", {}),
    ("tsp", "ring", "zb_h1", {}),
    ("tsp", "tensor", "zb_v", {}),
    ("tsp", "columns", "zb_v", {}),
    ("tp", "tokens", "interleaved", {"chunks": 2}),
    ("tsp", "columns", "interleaved", {"chunks": 2}),
    ("tp", "tensor", "dualpipe_v", {}),
    ("tsp", "ring", "dualpipe_v", {}),
]


@pytest.mark.parametrize("setting", ["skewed", "empty"])
@pytest.mark.parametrize(("strategy", "layout", "schedule", "pp"), STAGED)
def test_stages_of_a_pipeline_compute_the_dense_loops_numbers(
    strategy: str, layout: str, schedule: str, pp: dict[str, Any], setting: str
) -> None:
    """Also where weight gradients wait for a half of their own, and a stage has dense layers."""
    model, workload = SETTINGS[setting]
    model, workload = replace(model, layers=4), replace(workload, micro_batches=4, batch=1)
    stages = {"stages": 2, "schedule": schedule, **pp}
    check_values(mixture(strategy, layout, model, workload, degree=2, dp=1, pp=stages))


#: Experts over replicas, all of them or blocks; and how states are shared.
REPLICATED: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("tsp", "tokens", {"over": ["tsp", "dp"]}, {"degree": 2, "dp": 2}),
    ("tsp", "tokens", {"over": ["tsp", "dp"], "degree": 4}, {"degree": 2, "dp": 4}),
    ("tsp", "tokens", {"over": ["tsp", "dp"], "degree": 4}, {"degree": 2, "dp": 4, "zero": 1}),
    ("tsp", "ring", {"over": ["tsp", "dp"]}, {"degree": 2, "dp": 2, "zero": 1}),
    ("tsp", "tokens", {"over": ["dp"]}, {"degree": 2, "dp": 2, "zero": 1}),
    ("tsp", "tensor", {"over": ["dp"]}, {"degree": 2, "dp": 2}),
    ("tsp", "tokens", {}, {"degree": 2, "dp": 2, "zero": 3}),
    ("tsp", "ring", {}, {"degree": 2, "dp": 2, "zero": 2}),
    ("tsp", "columns", {}, {"degree": 2, "dp": 2, "zero": 3}),
    (
        "tsp", "tokens", {"over": ["tsp", "dp"], "degree": 4},
        {"degree": 2, "dp": 4, "zero": 1, "shard": {"degree": 2}},
    ),
    ("fsdp", "tokens", {"over": ["dp"]}, {"dp": 4, "zero": 1}),
    ("fsdp", "tokens", {"over": ["dp"], "degree": 2}, {"dp": 4, "zero": 1}),
    ("sp", "tokens", {"over": ["sp", "dp"]}, {"degree": 2, "dp": 2, "zero": 1}),
    ("sp", "ring", {}, {"degree": 2, "dp": 2, "zero": 1}),
    ("tp", "tokens", {"over": ["tp", "dp"]}, {"degree": 2, "dp": 2, "zero": 1}),
    ("tp", "tokens", {"over": ["dp"]}, {"degree": 2, "dp": 2, "zero": 1}),
    (
        "tp", "tensor", {"over": ["tp", "dp"]},
        {"degree": 2, "dp": 2, "sequence_parallel": True, "zero": 1},
    ),
    ("tp_sp", "tokens", {"over": ["sp"]}, {"tp": 2, "sp": 2, "sequence_parallel": True}),
    ("tp_sp", "tokens", {"over": ["tp"]}, {"tp": 2, "sp": 2}),
    ("tp_sp", "ring", {"over": ["sp"]}, {"tp": 2, "sp": 2}),
    ("tp_sp", "tokens", {"over": ["sp", "dp"]}, {"tp": 2, "sp": 2, "dp": 2, "zero": 1}),
]  # fmt: skip


@pytest.mark.parametrize(("strategy", "layout", "spread", "options"), REPLICATED)
def test_experts_over_other_axes_than_attention_compute_the_dense_loops_numbers(
    strategy: str, layout: str, spread: dict[str, Any], options: dict[str, Any]
) -> None:
    """Over replicas, all or neighbours, or over one axis of two; with states shared."""
    model = replace(SOFTMAX, layers=2)
    check_values(mixture(strategy, layout, model, replace(SKEWED, batch=1), spread, **options))


def test_stages_whose_experts_lie_over_replicas() -> None:
    """A split backward, shared states and experts of all replicas at once."""
    stages, four = {"stages": 2, "schedule": "zb_h1"}, replace(SKEWED, micro_batches=4, batch=1)
    spread = {"over": ["tp", "dp"]}
    more = {"degree": 2, "dp": 2, "zero": 1, "pp": stages}
    model = replace(SOFTMAX, layers=4)
    check_values(mixture("tp-sequence", "tokens", model, four, spread, **more))


@pytest.mark.parametrize(
    ("strategy", "layout"),
    [("tsp", "tokens"), ("tsp", "ring"), ("tp", "tokens"), ("tp_sp", "tokens"), ("sp", "tensor")],
)
def test_calls_meet_and_replicas_that_are_folded_are_as_all_would_be(
    strategy: str, layout: str
) -> None:
    """Messages whose size differs by rank; equal times and peaks where ranks are played once."""
    made = mixture(strategy, layout, replace(SIGMOID, layers=2), replace(EMPTY, batch=1))
    check_calls(made)
    check_folds(made.replicated(dp=4))


# ---- the yardstick --------------------------------------------------------------------------


def routed(made: Case) -> Routes:
    """Return where the tokens of a case go."""
    sequences = made.workload.batch * made.mesh.replicas
    whole = replace(made.workload, batch=sequences)
    return routes(made.programs, made.mesh, whole)


@pytest.mark.parametrize("strategy", ["tsp", "tsp-twice", "tp", "tp_sp-sequence", "fsdp"])
def test_every_token_goes_to_its_number_of_different_experts(strategy: str) -> None:
    """None is forgotten or dealt twice, and how often an expert is chosen is what routing says."""
    made = mixture(strategy, "tokens", BARE)
    for (layer, _), route in routed(made).items():
        assert route.experts.min() >= 0
        assert all(len(set(token)) == 2 for token in route.experts.reshape(-1, 2))
        found = np.bincount(route.experts.reshape(-1), minlength=8) / route.experts.size
        wanted = SKEWED.routing.shares(layer, 8)
        np.testing.assert_allclose(found, wanted, atol=0.5 * 1.01 / 8)
        np.testing.assert_allclose(found, route.shares)


#: Scores that stand each by itself, and losses of the router beside them.
APART = replace(
    BARE, experts=replace(BARE.experts, router=Router("sigmoid", False, 2.0, balance_loss=0.2))
)


@pytest.mark.parametrize(
    ("model", "workload"),
    [(SOFTMAX, SKEWED), (SIGMOID, EMPTY), (BARE, BALANCED), (APART, SKEWED), (GPT_OSS, SKEWED)],
)
def test_the_dense_loop_agrees_with_finite_differences(
    model: ModelShape, workload: Workload
) -> None:
    """The yardstick itself: its gradients are those of its loss and of its routers' own."""
    small = replace(workload, sequence=8, batch=1, micro_batches=1)
    where = routed(mixture("tsp", "ring", model, small, degree=1))
    check_gradients(model, small, where=where)


def test_the_losses_of_routers_are_what_their_papers_say() -> None:
    """Balance: 0.1 times count times the sum of f P; z: the mean square of log-sum-exp."""
    model = replace(SOFTMAX, layers=1, experts=replace(SOFTMAX.experts, first_dense=0))
    workload = replace(SKEWED, batch=1, micro_batches=1)
    tensors = initial(model, workload)
    tensors["L0.router"] = np.zeros_like(tensors["L0.router"])  # every score is 1/8
    where = routed(mixture("tsp", "ring", model, workload, degree=1))
    found = Dense(model, workload, tensors, where).run().router_losses
    assert found == pytest.approx(0.1 * 8 * (1 / 8) + 0.1 * np.log(8) ** 2)
