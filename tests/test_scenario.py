"""Scenarios: what is looked up where, what is resolved, and that it reads back as equal."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tspsim.files.errors import ScenarioError
from tspsim.files.shipped import shipped
from tspsim.files.source import in_order, parse
from tspsim.registry import STRATEGIES
from tspsim.scenario import from_document, load
from tspsim.scenario.files import find

ROOT = Path(__file__).parent.parent
SCENARIOS = sorted(path.stem for path in shipped("scenarios").glob("*.yaml"))
SMALL = {
    "name": "small",
    "model": {"hidden": 64, "layers": 2, "heads": 8, "kv_heads": 4, "ffn": 128, "vocab": 256},
    "workload": {"sequence": 64},
    "topology": {
        "kind": "ring",
        "ranks": 4,
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
        "device": "h100-sxm",
    },
    "strategy": {"kind": "tsp", "degree": 4},
}


def written(folder: Path, document: Mapping[str, Any], name: str = "small.yaml") -> Path:
    """Write a scenario as JSON, which is YAML too, and return its path."""
    path = folder / name
    path.write_text(json.dumps(document))
    return path


def test_defaults_are_those_of_the_documentation() -> None:
    """What a short file leaves out."""
    scenario = from_document(SMALL)
    assert (scenario.workload.batch, scenario.workload.phase) == (1, "train")
    assert (scenario.workload.dtype, scenario.workload.causal) == ("bf16", "zigzag")
    assert (scenario.optimizer.weight, scenario.optimizer.gradient) == (2, 4)
    assert scenario.optimizer.states == (("master", 4.0), ("moments", 8.0))
    assert scenario.algorithm == "auto"


@pytest.mark.parametrize("name", SCENARIOS)
def test_resolved_document_of_a_shipped_scenario_loads_as_equal(name: str) -> None:
    """Through JSON and back, without any file that the first one named."""
    first = load(name)
    second = from_document(json.loads(json.dumps(first.document)))
    assert second == replace(first, path=None)


@pytest.mark.parametrize("kind", STRATEGIES.names())
def test_resolved_document_of_every_strategy_loads_as_equal(kind: str) -> None:
    """A strategy with an option that JSON cannot hold would make results that do not re-run."""
    own = {"tp_sp": {"tp": 2, "sp": 2}, "fsdp": {"dp": 4}}
    degrees = own.get(kind, {"degree": 4})
    first = from_document({**SMALL, "strategy": {"kind": kind, **degrees}})
    second = from_document(json.loads(json.dumps(first.document)))
    assert second == first


def test_document_names_every_default() -> None:
    """Whoever reads a result sees all that it rests on."""
    document = from_document(SMALL).document
    assert document["strategy"]["slots"] == 2
    assert document["model"]["head_dim"] == 8
    assert document["topology"]["device"]["name"] == "h100-sxm"
    assert document["topology"]["device"]["profile"]["name"] == "h100-published"
    assert document["kernels"]["preset"] == "torch-compile"
    assert document["kernels"]["loss"] == "fp32"
    assert document["optimizer"]["bytes_per_parameter"]["moments"] == 8


def test_result_file_runs_again_and_takes_overrides(tmp_path: Path) -> None:
    """A result.json holds its scenario under ``document``."""
    first = from_document(SMALL)
    path = written(tmp_path, {"step_time": 1.0, "document": first.document}, "result.json")
    assert load(path) == replace(first, path=str(path))
    assert load(path, ["strategy.slots=3"]).document["strategy"]["slots"] == 3


def test_mistake_in_a_result_file_has_its_place(tmp_path: Path) -> None:
    """The path is the scenario's own, the place that in the file."""
    path = tmp_path / "result.json"
    path.write_text('{"document": {\n  "workload": {"sequence": 0}}}')
    with pytest.raises(ScenarioError) as caught:
        load(path)
    start = f"{path}:2:28: workload.sequence: found 0"
    assert any(line.startswith(start) for line in caught.value.lines)


def test_name_is_that_of_the_file_unless_it_has_its_own(tmp_path: Path) -> None:
    """A file without ``name:`` is called by its stem."""
    unnamed = {key: value for key, value in SMALL.items() if key != "name"}
    assert load(written(tmp_path, unnamed, "mine.yaml")).name == "mine"
    assert load(written(tmp_path, SMALL)).name == "small"


def test_own_model_keys_win_over_the_named_file() -> None:
    """``hf:`` gives what the scenario does not say itself."""
    scenario = from_document({**SMALL, "model": {"hf": "llama-3-8b", "layers": 2}})
    assert (scenario.model.layers, scenario.model.hidden) == (2, 4096)


@pytest.mark.parametrize("name", ["llama-3-8b", "models/llama-3-8b/config.json"])
def test_shipped_model_is_found_by_name_and_by_path(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From any working directory: after a wheel install there is no checkout around."""
    monkeypatch.chdir(tmp_path)
    assert from_document({**SMALL, "model": {"hf": name}}).model.parameters == 8_030_261_248


def test_file_beside_the_scenario_goes_before_the_working_directory_and_the_shipped_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order in which a named file is looked for."""
    beside, here = tmp_path / "beside", tmp_path / "here"
    for folder in (beside, here):
        folder.mkdir()
        (folder / "h100-node.yaml").write_text("mine")
    monkeypatch.chdir(here)
    name = "h100-node.yaml"
    assert find(name, "topologies", beside) == beside / name
    (beside / name).unlink()
    assert find(name, "topologies", beside) == Path(name)
    (here / name).unlink()
    assert find(name, "topologies", beside) == shipped("topologies") / name


def test_keys_beside_file_replace_what_stands_in_the_topology(tmp_path: Path) -> None:
    """One value of a nested mapping changes; its neighbours stay."""
    link = {"bandwidth": "32 GB/s"}
    topology = {"file": "mi300x-node.yaml", "ranks": 4, "link": link}
    scenario = load(written(tmp_path, {**SMALL, "topology": topology}))
    whole = load(written(tmp_path, {**SMALL, "topology": {"file": "mi300x-node", "ranks": 4}}))
    assert len(scenario.topology.devices) == 4
    assert scenario.topology.links[0].bandwidth == 32e9
    assert scenario.topology.links[0].latency == whole.topology.links[0].latency


def test_one_value_of_a_named_device_can_be_overridden(tmp_path: Path) -> None:
    """A what-if of the hardware needs no new file."""
    scenario = load(written(tmp_path, SMALL), ["topology.device.memory=40 GiB"])
    device = scenario.topology.devices[0]
    assert (device.name, device.memory) == ("h100-sxm", 40 * 2**30)


def test_reserved_memory_reaches_every_device() -> None:
    """``memory.reserved`` replaces what the device's file says."""
    scenario = from_document({**SMALL, "memory": {"reserved": "2 GiB"}})
    assert {device.reserved for device in scenario.topology.devices} == {2 * 2**30}


@pytest.mark.parametrize(
    ("kernels", "memory", "held"),
    [
        ("torch-compile", {}, (32, 288)),
        ("megatron-core", {}, (32, 288)),
        ("ideal", {}, (0, 0)),
        ("ideal", {"blas": "8 MiB"}, (8, 0)),
        ("torch-compile", {"blas": "8 MiB", "communicator": "0 B"}, (8, 0)),
    ],
)
def test_libraries_hold_what_the_device_or_the_scenario_says(kernels, memory, held) -> None:
    """A framework's kernels bring their libraries, ideal ones none; what is stated counts."""
    scenario = from_document({**SMALL, "kernels": kernels, "memory": memory})
    found = {(device.blas, device.communicator) for device in scenario.topology.devices}
    assert found == {(held[0] * 2**20, held[1] * 2**20)}
    assert from_document(scenario.document).topology == scenario.topology


def test_optimizer_takes_any_state_and_drops_empty_ones() -> None:
    """Exponential moving averages are one more name; a state of 0 bytes is none."""
    sizes = {"gradient": 2, "master": 0, "average": 4}
    scenario = from_document({**SMALL, "optimizer": {"bytes_per_parameter": sizes}})
    assert scenario.optimizer.gradient == 2
    assert scenario.optimizer.states == (("moments", 8.0), ("average", 4.0))


def test_yaml_is_version_1_2() -> None:
    """``off`` is text, ``1e-5`` a number, ``010`` ten: the traps of YAML 1.1 are not there."""
    text = "{a: off, b: 1e-5, c: 010, d: 12:30, e: 5e9, f: 2020-01-01, g: 1.5, h: ~}"
    values = [*("off", 1e-5, 10, "12:30", 5e9, "2020-01-01", 1.5, None)]
    assert list(parse(text, "x").data.values()) == values


def test_json_escapes_beyond_the_basic_plane_are_one_character() -> None:
    """Two escaped surrogates are one letter, which can be written out again."""
    assert parse(r'{"name": "\ud83d\ude00"}', "x").data == {"name": "\N{GRINNING FACE}"}


def test_lines_stand_in_the_order_of_their_places() -> None:
    """Numbers as numbers (line 10 behind line 9), each line once, each file by itself."""
    lines = ["a:10:1: x", "b:1:1: y", "a:9:20: z", "a:9:3: w", "a:10:1: x"]
    assert in_order(lines) == ["a:9:3: w", "a:9:20: z", "a:10:1: x", "b:1:1: y"]
