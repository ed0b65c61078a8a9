"""A schedule from a file in a scenario: read in, self-contained, proven; stages of any size."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.pipelines import order
from tspsim.files.errors import ScenarioError
from tspsim.runner import run
from tspsim.scenario import from_document, load
from tspsim.schedules.orders.reading import text_of
from tspsim.values import check

SMALL: dict[str, Any] = {
    "name": "small",
    "model": {"hidden": 64, "layers": 8, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
    "workload": {"sequence": 64, "micro_batches": 4},
    "topology": {
        "kind": "switch",
        "ranks": 4,
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
        "device": "h100-sxm",
    },
    "strategy": {"kind": "tsp", "degree": 2, "pp": {"stages": 2, "schedule": "zb_v"}},
}


@pytest.fixture
def scenario(tmp_path: Path) -> Path:
    """Return a scenario whose schedule stands in a file beside it: ZB-V of two ranks."""
    (tmp_path / "own.csv").write_text(text_of(order("zb_v", 2, 4), ","), encoding="utf-8")
    keys = {
        **SMALL,
        "strategy": {**SMALL["strategy"], "pp": pipeline(schedule={"file": "own.csv"})},
    }
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps(keys), encoding="utf-8")
    return path


def pipeline(**options: Any) -> dict[str, Any]:
    """Return a pipeline of two ranks."""
    return {"stages": 2, **options}


def test_an_order_from_a_file_does_what_the_schedule_of_that_order_does(scenario: Path) -> None:
    """To the bit: time, memory and messages; how many stages a rank has is in the file."""
    own, named = run(scenario).summary, run(from_document(SMALL)).summary
    assert own.step_time == named.step_time
    assert own.memory == named.memory
    assert own.communication == named.communication


def test_a_result_runs_again_without_the_file(scenario: Path, tmp_path: Path) -> None:
    """The rows stand in the resolved document, which a result.json holds."""
    first = run(scenario)
    (tmp_path / "own.csv").unlink()
    result = tmp_path / "result.json"
    result.write_text(json.dumps({"document": first.scenario.document}), encoding="utf-8")
    again = run(result)
    assert again.scenario.document == first.scenario.document
    assert again.summary.step_time == first.summary.step_time


def test_a_file_can_take_the_place_of_a_schedule_from_the_command_line(
    scenario: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And an option can be given to a schedule that has only its name so far."""
    named = ["strategy.pp={stages: 2, schedule: 1f1b}"]
    assert load(scenario, named).strategy.pp.kind == "1f1b"  # type: ignore[union-attr]
    file = ["strategy.pp.schedule={file: own.csv}"]
    assert load(scenario, [*named, *file]) == load(scenario)
    monkeypatch.chdir(scenario.parent)
    grouped = ["strategy.pp.schedule=interleaved", "strategy.pp.schedule.group_size=4"]
    found = load(scenario, grouped).strategy.pp.order(4)  # type: ignore[union-attr]
    assert found == order("interleaved", 2, 4, group_size=4)


@pytest.mark.parametrize("override", ["strategy.pp.schedule={file: own.csv}", None])
def test_a_mistake_in_a_file_has_its_place_there(scenario: Path, override: str | None) -> None:
    """Line and column, also where the command line names the file."""
    file = scenario.parent / "own.csv"
    file.write_text(file.read_text(encoding="utf-8").replace("1F0", "0F0"), encoding="utf-8")
    with pytest.raises(ScenarioError) as error:
        load(scenario, [override] if override else [])
    (line,) = error.value.lines
    assert line.endswith("own.csv:2:1: rank 1, step 0: 0F0: stage 0 lies on rank 0")


@pytest.mark.parametrize(
    ("options", "micro_batches"),
    [
        ({"layers": [3, 5]}, 4),
        ({"layers": [8, 0]}, 4),
        ({"layers": [0, 8], "streams": "direction"}, 4),
        ({"schedule": "zb_v", "layers": [0, 4, 4, 0]}, 4),
        ({"schedule": {"kind": "interleaved", "group_size": 8}}, 16),
    ],
)
def test_stages_of_any_size_are_proven(options: dict[str, Any], micro_batches: int) -> None:
    """Also one that has the loss alone, and a group larger than a proof needs otherwise."""
    keys = {
        **SMALL,
        "workload": {"sequence": 64, "micro_batches": micro_batches},
        "strategy": {**SMALL["strategy"], "pp": pipeline(**options)},
    }
    proof = check(from_document(keys))
    assert proof.passed, proof.worst
    assert {c.tensor for c in proof.comparisons} >= {"loss", "output.0", "dinput.3"}
