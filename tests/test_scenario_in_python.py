"""Scenarios that Python states without a file: the same values, the same sentences, typed."""

from __future__ import annotations

import ast
import copy
import dataclasses
import inspect
import json
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import tspsim
from tests import typed_script
from tspsim.cli.app import app
from tspsim.files.errors import OutputError, ScenarioError
from tspsim.files.shipped import shipped
from tspsim.registry import STRATEGIES, TOPOLOGIES
from tspsim.scenario import typed, types
from tspsim.scenario.schema import ScenarioKeys
from tspsim.scenario.stated import Stated, plain

SHAPE: dict[str, Any] = {
    "hidden": 64, "layers": 2, "heads": 8, "kv_heads": 8, "ffn": 128, "vocab": 0,
}  # fmt: skip
#: The same, as a file holds it.
DOCUMENT = {
    "name": "made",
    "model": SHAPE,
    "workload": {"sequence": 64, "recompute": "full"},
    "topology": {"file": "h100-node", "ranks": 4, "link": {"latency": "2 us", "bandwidth": "x2"}},
    "strategy": {"kind": "tsp", "degree": 2, "pp": {"stages": 2}},
    "disturbances": {"slow_devices": [{"device": 1, "speed": 0.5}]},
}
SECTIONS = [each for _, each in inspect.getmembers(typed, inspect.isclass)
            if issubclass(each, Stated) and each is not Stated]  # fmt: skip


@pytest.fixture(scope="module")
def made() -> tspsim.Scenario:
    """Return a small scenario, of sections within sections."""
    link = tspsim.Link(bandwidth="x2", latency="2 us")
    return tspsim.Scenario(
        name="made",
        model=tspsim.Model(**SHAPE),
        workload=tspsim.Workload(sequence=64, recompute="full"),
        topology=tspsim.Topology("h100-node", ranks=4, link=link),
        strategy=tspsim.TSP(degree=2, pp=tspsim.Pipeline(stages=2)),
        disturbances=tspsim.Disturbances(slow_devices=[tspsim.SlowDevice(device=1, speed=0.5)]),
    )


def simple(**sections: Any) -> tspsim.Scenario:
    """Return a scenario of a section or two; the others are right."""
    right: dict[str, Any] = {
        "model": SHAPE, "workload": {"sequence": 64}, "topology": "h100-node",
        "strategy": tspsim.TSP(degree=8),
    }  # fmt: skip
    return tspsim.Scenario(**{**right, **sections})


def test_it_is_what_a_file_of_the_same_keys_gives(made: tspsim.Scenario, tmp_path: Path) -> None:
    """Loaded or made, it is one type and equal by content; so is one of mappings alone."""
    path = tmp_path / "made.yaml"
    path.write_text(json.dumps(DOCUMENT))
    read = tspsim.load(path)
    assert type(read) is type(made) is tspsim.Scenario
    assert dataclasses.replace(read, path=None) == made
    assert tspsim.Scenario(**DOCUMENT) == made


def test_its_file_gives_the_same_results(made: tspsim.Scenario, tmp_path: Path) -> None:
    """``to_yaml`` writes what the command runs; every figure is the same."""
    path = tmp_path / "made.yaml"
    text = made.to_yaml(path)
    assert path.read_text() == text
    printed = json.loads(CliRunner().invoke(app, ["run", str(path), "--json"]).stdout)
    figures = json.loads(json.dumps(tspsim.run(made).summary.to_dict()))
    del printed["engine"]["wall_seconds"], figures["engine"]["wall_seconds"]
    assert printed == figures
    with pytest.raises(OutputError, match=r"none.+cannot be written"):
        made.to_yaml(tmp_path / "none" / "made.yaml")


WRONG: dict[str, Any] = {
    "misspelt": {"workload": tspsim.Workload(sequnce=64), "engine": {"fold": "of"}},
    "values": {"workload": tspsim.Workload(sequence=0, phase="serving"), "strategy": tspsim.TSP()},
    "names": {"model": "llama-3-9b", "topology": tspsim.Topology("h100-nod"), "kernels": "idle"},
    "no unit": {"topology": tspsim.Topology("h100-node", link=tspsim.Link(bandwidth=900e9))},
    "deep": {"strategy": tspsim.TSP(degree=8, pp=tspsim.Pipeline(stages=0, schedul="1f1b"))},
    "together": {"strategy": tspsim.TSP(degree=3)},
    "no section": {"workload": 8, "strategie": "tsp"},
}  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_mistakes_are_all_told_in_the_sentences_of_a_file(
    wrong: dict[str, Any], tmp_path: Path
) -> None:
    """Everything at once; only the place differs, of which Python has none."""
    with pytest.raises(ScenarioError) as stated:
        simple(**wrong)
    names = {"model": "hf", "topology": "file"}
    document = {"model": SHAPE, "workload": {"sequence": 64}, "topology": "h100-node",
                "strategy": {"kind": "tsp", "degree": 8}, **wrong}  # fmt: skip
    document = {k: {names[k]: v} if k in names and isinstance(v, str) else v
                for k, v in plain(document).items()}  # fmt: skip
    path = tmp_path / "wrong.yaml"
    path.write_text(json.dumps(document))
    with pytest.raises(ScenarioError) as read:
        tspsim.load(path)
    assert all(line.startswith("Scenario: ") for line in stated.value.lines)
    told = (sorted(line.partition(": ")[2] for line in e.value.lines) for e in (stated, read))
    assert next(told) == next(told)


def test_a_suggestion_is_told_for_every_misspelt_word() -> None:
    """Of sections, keys, names and values."""
    with pytest.raises(ScenarioError) as refused:
        tspsim.Scenario(
            modle=SHAPE,  # type: ignore[call-arg]
            workload=tspsim.Workload(sequnce=64, phase="trian"),  # type: ignore[arg-type,call-arg]
            topology="h100-noed",
            strategy={"kind": "fdsp", "dp": 8},
        )
    for word in ("model", "sequence", "train", "h100-node", "fsdp"):
        assert f"(did you mean '{word}'?)" in str(refused.value)
    assert len(refused.value.lines) == 5


def test_names_stand_for_what_ships_and_for_what_was_downloaded(tmp_path: Path) -> None:
    """By name alone, with changes, by a path, and a folder of Hugging Face."""
    folder = tmp_path / "Meta-Llama-3-8B"
    folder.mkdir()
    shutil.copy(shipped("models") / "llama-3-8b" / "config.json", folder)
    shapes = [
        simple(model=model).model
        for model in ("llama-3-8b", tspsim.Model("llama-3-8b"), tspsim.Model(hf="llama-3-8b"),
                      tspsim.Model.from_hf(folder), str(folder))
    ]  # fmt: skip
    assert all(shape == shapes[0] for shape in shapes)
    assert simple(model=tspsim.Model.from_hf(folder, layers=1)).model.layers == 1
    assert simple(kernels="ideal") == simple(kernels=tspsim.Kernels("ideal"))
    with pytest.raises(
        TypeError, match="Model takes one name beside its keys, hf; found 'llama-3-8b', 2"
    ):
        tspsim.Model("llama-3-8b", 2)  # type: ignore[misc]
    with pytest.raises(TypeError, match="Workload takes keys alone; found 64"):
        tspsim.Workload(64)  # type: ignore[misc]


def test_values_of_numpy_and_paths_are_plain() -> None:
    """Loops over ``numpy.arange`` state integers, as loops over ``range`` do."""
    sequence, speed = np.arange(64, 65)[0], np.float64(0.5)
    work = tspsim.Workload(sequence=sequence)
    slow = {"slow_devices": ({"device": np.int8(1), "speed": speed},)}
    assert work.stated == {"sequence": 64}
    assert simple(workload=work, disturbances=slow).document["workload"]["sequence"] == 64
    with pytest.raises(ScenarioError, match="found true; must be an integer"):
        simple(workload=tspsim.Workload(sequence=True))


def test_another_is_made_of_other_sections_and_changed_keys(made: tspsim.Scenario) -> None:
    """``replace`` states whole sections, then single keys; the first one stays as it is."""
    other = made.replace("workload.batch=3", strategy=tspsim.TP(degree=4), name="other")
    assert (other.name, other.strategy.kind, other.workload.batch) == ("other", "tp", 3)
    assert (other.workload.sequence, other.workload.recompute) == (64, "full")
    assert other.topology == made.topology
    assert (made.name, made.strategy.kind, made.workload.batch) == ("made", "tsp", 1)
    assert made.replace() == made
    with pytest.raises(ScenarioError, match=r"override 'strategy\.degre=2': .+'degree'"):
        made.replace("strategy.degre=2")
    with pytest.raises(ScenarioError, match=r"Scenario: strategy\.degree: "):
        made.replace(strategy=tspsim.TP(degree=3))


def test_kernels_that_nobody_chose_are_those_of_the_new_phase() -> None:
    """As a file of that phase has them; chosen ones stay."""
    decode = tspsim.Workload(phase="decode", cached=64)
    wanted = simple(workload=decode)
    assert simple().replace(workload=decode) == wanted
    change = "workload={phase: decode, cached: 64}"
    assert tspsim.run(simple(), change).scenario == simple().replace(change) == wanted
    chosen = simple(kernels="ideal").replace(workload=decode)
    assert chosen.document["kernels"]["preset"] == "ideal"


def test_scenarios_and_sections_are_values(made: tspsim.Scenario) -> None:
    """They are copied, pickled, compared and printed, and do not change."""
    again = pickle.loads(pickle.dumps(made))  # noqa: S301
    assert again == copy.deepcopy(made) == made
    section = tspsim.Model("llama-3-8b", layers=2, experts=tspsim.Experts(count=8, active=2))
    assert pickle.loads(pickle.dumps(section)) == section  # noqa: S301
    assert repr(tspsim.TSP(degree=8)) == "TSP(degree=8)"
    assert repr(section) == "Model('llama-3-8b', layers=2, experts={'count': 8, 'active': 2})"
    assert section.replace(layers=4).stated["layers"] == 4
    assert section != tspsim.Model("llama-3-8b")
    assert len({section, section.replace(), tspsim.TP(degree=8), tspsim.SP(degree=8)}) == 3
    assert len({tspsim.TSP(degree=8, lookahead=0), tspsim.TSP(lookahead=0, degree=8)}) == 1
    with pytest.raises(AttributeError, match="frozen"):
        section.layers = 3  # type: ignore[attr-defined]
    assert len(repr(made)) < 400
    assert "slow" not in repr(made)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda each: each.__name__)
def test_a_section_offers_the_keys_that_its_forms_have(section: type[Stated]) -> None:
    """Its signature, for completion, and its help have every key, and no other."""
    offered = set(inspect.signature(section).parameters) - {section.named, "others"}
    fields = {field.alias or name for form in section.forms
              for name, field in form.model_fields.items()}  # fmt: skip
    fixed = {"kind"} if section.kind else set()
    assert {name.rstrip("_") for name in offered} == fields - fixed - {section.named}
    assert all(f"\n{name} : " in str(section.__doc__) for name in offered)
    assert section.__name__ in tspsim.__all__


def test_every_strategy_and_section_has_its_class() -> None:
    """A new strategy, generator or section is not forgotten."""
    kinds = {each.kind for each in SECTIONS if issubclass(each, tspsim.Strategy)} - {""}
    assert kinds == set(STRATEGIES.names())
    known = inspect.signature(tspsim.Topology).parameters["kind"].annotation
    assert all(f"'{name}'" in known for name in TOPOLOGIES.names())
    assert set(types.SECTIONS) == set(ScenarioKeys.model_fields)
    needed = {name for name, field in ScenarioKeys.model_fields.items() if field.is_required()}
    assert set(types.NEEDED) == needed
    assert tuple(inspect.signature(tspsim.Scenario).parameters) == types.SECTIONS


def test_what_a_type_checker_reads_of_a_scenario_are_its_sections() -> None:
    """The signature that only it sees has the sections in order, the needed ones first."""
    tree = ast.parse(Path(types.__file__).read_text(encoding="utf-8"))
    first = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)
                 and n.name == "__init__")  # fmt: skip
    assert tuple(each.arg for each in first.args.kwonlyargs) == types.SECTIONS
    assert sum(each is None for each in first.args.kw_defaults) == len(types.NEEDED)


def test_a_user_s_script_is_typed_and_runs() -> None:
    """``mypy`` reads it with the package (pyproject.toml), its mistakes too; here it runs."""
    assert all(time > 0 for time in typed_script.ask())
    typed_script.mistakes()  # nothing is refused before a scenario is made
