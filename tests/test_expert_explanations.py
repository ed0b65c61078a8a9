"""What an explanation says of experts: their part of the path, imbalance, and other ways."""

from __future__ import annotations

import io
import json
from functools import cache
from pathlib import Path

import pytest
from rich.console import Console

import tspsim
from tests.mixtures import SKEWED, mixture, ran
from tests.test_explain import call
from tspsim.explain.explanation import Explanation, explain
from tspsim.explain.remedies import of_experts, possible
from tspsim.explain.report import to_dict
from tspsim.reports.explanation import render

#: Enough tokens that products take longer than they take to begin.
LARGE = {
    "model": {"hidden": 1024, "ffn": 4096, "vocab": 0, "layers": 2},
    "experts": {"width": 4096},
}


@cache
def skewed(*overrides: str, what_if: bool = False) -> Explanation:
    """Return the explanation of a step whose first expert has twice the mean."""
    work = {"sequence": 8192, "routing": SKEWED}
    return explain(ran(*overrides, **LARGE, workload=work), what_if=what_if)


@pytest.mark.parametrize("layout", ["tokens", "ring", "tensor"])
def test_the_path_adds_up_and_the_parts_of_experts_are_of_it(layout: str) -> None:
    """To the last bit; products are what the path has of that kind, and so is what travels."""
    found = skewed(f"strategy.experts.layout={layout}")
    told = to_dict(found)
    path, experts = told["critical_path"], told["experts"]
    assert path["total"] == told["step_time"] == found.result.timeline.step_time
    assert sum(path["by_kind"].values()) == pytest.approx(path["total"], rel=1e-12)
    assert experts["products"] == path["by_kind"]["grouped_matmul"]
    assert sum(experts["by_label"].values()) == pytest.approx(experts["communication"])
    parts = sum(experts[name] for name in ("products", "rows", "communication"))
    assert parts == pytest.approx(experts["total"])
    assert parts < path["total"]


def test_imbalance_is_what_the_busiest_rank_computes_beyond_the_mean() -> None:
    """Close to what balanced routing saves; the rank and the layer of most of it are named."""
    found = skewed(what_if=True)
    assert found.experts is not None and found.what_if is not None
    excess = found.experts.imbalance
    assert excess is not None
    assert (excess.rank, excess.layer in (0, 1)) == (0, True)
    balanced = next(r for r in found.what_if.experts if "balanced" in r.overrides[0])
    saved = found.what_if.base.step_time - balanced.replayed.step_time
    assert excess.seconds == pytest.approx(saved, rel=0.2)


def test_without_skew_there_is_no_imbalance() -> None:
    """Of balanced routing nothing is said, and none is tried."""
    found = explain(ran(), what_if=False)
    assert found.experts is not None
    assert found.experts.imbalance is None
    assert ways(found) == {"strategy.experts={layout: ring}", "strategy.experts={layout: tensor}"}


def ways(found: Explanation) -> set[str]:
    """Return the other ways for experts that a scenario allows."""
    return {" ".join(said) for said, _ in possible(found.result.scenario, of_experts)}


def test_every_other_way_is_what_a_run_with_it_gives() -> None:
    """Each can be written on the command line; the shortest step comes first."""
    found = skewed(what_if=True)
    assert found.what_if is not None
    assert {" ".join(remedy.overrides) for remedy in found.what_if.experts} == {
        "workload.routing={kind: balanced}", "strategy.experts={layout: ring}",
        "strategy.experts={layout: tensor}",
    }  # fmt: skip
    times = [remedy.replayed.step_time for remedy in found.what_if.experts]
    assert times == sorted(times)
    for remedy in found.what_if.experts:
        again = tspsim.run(found.result.scenario, *remedy.overrides)
        assert again.summary.step_time == remedy.replayed.step_time
        assert again.summary.memory.peak == remedy.replayed.peak


def test_more_places_for_travelling_weights_are_tried_on_a_ring() -> None:
    """They let weights run further ahead; whole experts may travel, or columns of all."""
    found = skewed("strategy.experts.layout=ring")
    assert {"strategy.experts.slots=4", "strategy.experts.shards=columns"} <= ways(found)


def test_capacity_stays_where_routing_is_balanced() -> None:
    """What is tried differs in nothing but how tokens spread."""
    found = explain(ran(workload={"routing": {**SKEWED, "capacity": 1.5}}), what_if=False)
    assert "workload.routing={kind: balanced, capacity: 1.5}" in ways(found)


def test_a_dense_model_has_no_word_of_it() -> None:
    """Neither causes nor other ways."""
    found = explain(ran(model={"experts": None}), what_if=False)
    assert "experts" not in to_dict(found)
    assert not ways(found)


def test_the_command_says_what_imbalance_costs(tmp_path: Path) -> None:
    """In seconds and as a share, with the rank and the layer; and what travels."""
    path = tmp_path / "mixture.yaml"
    whole = mixture(**LARGE, workload={"sequence": 8192, "routing": SKEWED})
    path.write_text(json.dumps(whole))
    text = " ".join(call(str(path), "--quick").output.split())
    assert "computed, most on rank 0 in layer" in text
    assert "all_to_all dispatch, forward" in text


def test_other_ways_stand_under_what_experts_take() -> None:
    """What they do to the step time and to the peak."""
    file = io.StringIO()
    Console(file=file, width=80).print(render(skewed(what_if=True)))
    told = file.getvalue().split("their products")[1].split("what if")[0]
    (row,) = (each for each in told.splitlines() if "kind: balanced" in each)
    assert "−" in row
    assert max(map(len, file.getvalue().splitlines())) <= 80
