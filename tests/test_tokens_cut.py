"""Experts that tokens travel to and that are cut as well (Megatron-Core's EP with ETP)."""

from __future__ import annotations

from contextlib import suppress

import pytest

from tests.schedules import options
from tspsim.experts import Experts
from tspsim.files.errors import ScheduleError
from tspsim.model import ModelShape, Optimizer, Workload
from tspsim.routing import Routing
from tspsim.testing import forgettable, without
from tspsim.values import compare

MODEL = ModelShape(
    hidden=16, layers=1, heads=4, kv_heads=4, ffn=16, vocab=32, experts=Experts(4, 2, 8, shared=8)
)
SKEWED = Workload(sequence=16, batch=2, routing=Routing(kind="power_law", exponent=1.5))
SHARDED = {"sequence_parallel": True}

#: (kind, options): tokens travel over replicas or an axis of the strategy's own.
LAYOUTS = (
    ("tp", {"degree": 2, **SHARDED, "dp": 2, "experts": {"over": ["dp"], "cut": ["tp"]}}),
    (
        "tp",
        {
            "degree": 2, **SHARDED, "dp": 4, "zero": 3,
            "experts": {"over": ["dp"], "degree": 2, "cut": ["tp"], "pieces": 2},
        },
    ),
    ("tp_sp", {"tp": 2, "sp": 2, **SHARDED, "experts": {"over": ["tp"], "cut": ["sp"]}}),
    ("tsp", {"degree": 2, "dp": 2, "experts": {"over": ["dp"], "cut": ["tsp"]}}),
)  # fmt: skip


def recorded(kind: str, **values):
    """Return the programs and the mesh of a layout."""
    chosen = options(kind, **values)
    assert not list(chosen.all_problems(MODEL, SKEWED))
    return chosen.record(MODEL, SKEWED, Optimizer()), chosen.mesh()


@pytest.mark.parametrize(("kind", "values"), LAYOUTS)
def test_values_equal_the_dense_model_with_skewed_routing(kind, values) -> None:
    """Some experts get nothing, and ranks unlike numbers of rows."""
    assert compare(*recorded(kind, **values), MODEL, SKEWED).passed


@pytest.mark.parametrize(("kind", "values"), LAYOUTS)
def test_leaving_out_a_message_of_the_experts_is_found(kind, values) -> None:
    """Dispatch, gather over columns, sum over columns, combine, each way."""
    programs, mesh = recorded(kind, **values)
    victims = [v for v in forgettable(programs) if "dispatch" in str(v) or "combine" in str(v)]
    assert len(victims) >= 8
    for victim in victims:
        with suppress(ScheduleError):  # rows that did not come: other sizes
            assert not compare(without(programs, victim), mesh, MODEL, SKEWED).passed, victim


def test_rows_travel_once_and_are_gathered_over_columns() -> None:
    """Per rank, forward: n k h elements to experts and back, and as many again, (c - 1) times."""
    balanced = Workload(sequence=16, batch=2)
    chosen = options("tp", **LAYOUTS[0][1])
    (program,) = chosen.record(MODEL, balanced, Optimizer()).roles
    rows = 16 * 2 // 2 * 2 * 16  # tokens of a rank, experts of each, width
    sizes = {
        op.label: op.message.bytes / op.inputs[0].buffer.itemsize
        for op in program.ops
        if op.message and op.phase == "forward"
    }
    assert sizes["dispatch"] == sizes["combine"] == rows
    assert sizes["dispatch.gather"] == sizes["combine.sum"] == 2 * rows


@pytest.mark.parametrize(
    ("experts", "told"),
    [
        ({"over": ["dp"], "cut": ["dp"]}, "found 'dp'; allowed: tp"),
        ({"over": ["dp", "tp"], "cut": ["tp"]}, "found 'tp'; none is allowed"),
        ({"cut": ["tp"]}, "found 'tp'; none is allowed"),
        ({"over": ["dp"], "cut": ["tp", "tp"]}, "each once"),
        ({"over": ["dp"], "cut": ["tp"], "once": "rank"}, "once: rank has no such cut"),
        ({"over": ["dp"], "cut": ["tp"], "layout": "tensor"}, "layout: tensor has no such cut"),
    ],
)
def test_a_cut_that_cannot_be_is_refused_with_what_can(experts, told) -> None:
    """Only axes along which tokens are cut, and only beside whole rows that travel."""
    chosen = options("tp", degree=2, sequence_parallel=True, dp=2, experts=experts)
    found = list(chosen.all_problems(MODEL, SKEWED))
    assert any(told in problem.message for problem in found), found


def test_columns_that_do_not_divide_are_refused() -> None:
    """Eight columns over three ranks."""
    model = ModelShape(
        hidden=12, layers=1, heads=3, kv_heads=3, ffn=12, vocab=33, experts=Experts(4, 2, 8)
    )
    values = {**LAYOUTS[0][1], "degree": 3}
    found = list(options("tp", **values).all_problems(model, Workload(sequence=12)))
    assert any("3 ranks along tp do not divide" in problem.message for problem in found)
