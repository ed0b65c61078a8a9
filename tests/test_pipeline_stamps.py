"""Programs that are stamped from templates equal those that are recorded, op by op."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.pipelines import SCHEDULED, SMALL, piped, rows
from tspsim.kernels import PRESETS
from tspsim.program.stages import Stages
from tspsim.program.types import Programs
from tspsim.strategies.parts.stamps import Stamps
from tspsim.testing import MODEL, Case
from tspsim.testing.checks import check_values


def recorded(made: Case) -> Programs:
    """Return a case's programs with every pass recorded."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stages, "in_turn", False)
        return made.strategy.record(made.model, made.workload, made.optimizer)


def equal(made: Case) -> None:
    """Require that ops, what they wait for, buffers, lanes, bindings and probes are the same."""
    for stamped, whole in zip(made.programs.roles, recorded(made).roles, strict=True):
        for mine, theirs in zip(stamped.ops, whole.ops, strict=True):
            assert mine == theirs
            assert stamped.waits[mine.index] == whole.waits[mine.index], mine
        for part in ("buffers", "lanes", "bindings", "probes", "opening"):
            assert getattr(stamped, part) == getattr(whole, part), part


def passes(made: Case) -> int:
    """Return how many passes through a layer are recorded when a case's programs are made."""
    count = 0
    record = Stamps._record

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return record(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stamps, "_record", counted)
        made.strategy.record(made.model, made.workload, made.optimizer)
    return count


@pytest.mark.parametrize("schedule", [s for s in SCHEDULED if s != "rows"])
def test_every_schedule_is_stamped_as_it_is_recorded(schedule: str) -> None:
    """Two layers a stage and many micro-batches, under TSP, whose weights travel in slots."""
    depth = 2 * SCHEDULED[schedule]
    made = piped("tsp", schedule, model=replace(MODEL, layers=2 * depth), micro_batches=6)
    equal(made)


@pytest.mark.parametrize("strategy", SMALL)
@pytest.mark.parametrize("schedule", ["1f1b", "zb_v"])
def test_every_strategy_is_stamped_as_it_is_recorded(strategy: str, schedule: str) -> None:
    """With backward whole and in two halves, of a bare stack and of a tied one with replicas."""
    equal(piped(strategy, schedule, model=replace(MODEL, vocab=0), recompute="none"))
    options = {"dp": 2, "zero": 1}
    tied = replace(MODEL, tied=True, qkv_bias=True)
    equal(piped(strategy, schedule, model=tied, options=options, recompute="full"))


@settings(max_examples=15, deadline=None)
@given(st.data())
def test_any_options_are_stamped_as_they_are_recorded(data: st.DataObject) -> None:
    """Kernels, recomputation, ends, layers, streams and the options of TSP, whichever they are."""
    draw = data.draw
    schedule = draw(st.sampled_from([s for s in SCHEDULED if s != "rows"]))
    depth = 2 * SCHEDULED[schedule] if schedule != "dualpipe" else 2
    layers = draw(st.lists(st.integers(0, 2), min_size=depth, max_size=depth).filter(any))
    options = {
        "slots": draw(st.integers(2, 4)),
        "head_buckets": draw(st.sampled_from([1, 2])),
        "lookahead": draw(st.integers(0, 2)),
        "share_recompute": draw(st.booleans()),
        "keep_gathered_kv": draw(st.booleans()),
    }
    kernels = PRESETS[draw(st.sampled_from(["ideal", "torch-eager", "megatron-2022"]))]
    pp = {"layers": layers, "streams": draw(st.sampled_from(["pair", "rank", "direction"]))}
    made = piped(
        "tsp",
        schedule,
        pp=pp,
        options=options,
        micro_batches=draw(st.sampled_from([4, 6])),
        recompute=draw(st.sampled_from(["none", "selective", "full"])),
        kernels=replace(kernels, host=draw(st.sampled_from([0.0, 1e-3]))),
    )
    shape = replace(MODEL, layers=sum(layers), vocab=draw(st.sampled_from([0, 24])))
    equal(Case(made.strategy, shape, made.workload))


def test_passes_are_recorded_once_however_many_there_are() -> None:
    """Forward and backward: of each stage, not of each pass."""
    few, many = (
        piped("tsp", "zb_v", model=replace(MODEL, layers=layers), micro_batches=number)
        for layers, number in ((4, 4), (16, 12))
    )
    assert passes(few) == passes(many) == 4 * 2


def test_weight_gradients_out_of_turn_are_recorded_one_by_one() -> None:
    """A template's slots are filled in the order of the passes, so nothing is stamped then."""
    turned = {
        in_turn: piped("tsp", "rows", pp={"schedule": {"rows": rows(2, 4, in_turn=in_turn)}})
        for in_turn in (True, False)
    }
    assert passes(turned[False]) == 2 * (4 + 4)
    assert passes(turned[True]) < passes(turned[False])
    equal(turned[True])
    check_values(turned[False])
