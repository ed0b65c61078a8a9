"""What somebody meets in the first five minutes: help, versions, names, and what is not there."""

from __future__ import annotations

import doctest
import re
import runpy
import shutil
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import tspsim
from tspsim.cli.app import app
from tspsim.explain.explanation import explain
from tspsim.files.errors import ScenarioError
from tspsim.files.shipped import names, shipped
from tspsim.registry import STRATEGIES, TOPOLOGIES
from tspsim.scenario import elsewhere, load


def test_the_example_in_the_help_of_the_package_runs() -> None:
    """``help(tspsim)`` begins with lines that can be typed as they stand, in any folder."""
    tried = doctest.testmod(tspsim)
    assert tried.attempted >= 3
    assert tried.failed == 0


def test_a_printed_result_is_the_table_of_the_command() -> None:
    """``print(result)`` says what ``tspsim run`` says; ``repr`` stays short."""
    result = tspsim.run("tsp-layer")
    shown = CliRunner().invoke(app, ["run", "tsp-layer"], env={"COLUMNS": "80"}).stdout
    assert f"{result}\n" == shown
    assert len(repr(result).splitlines()) < len(shown.splitlines()) / 2


def test_the_version_is_an_option_too() -> None:
    """``--version`` works as everywhere, and the package has no other version than that."""
    asked = [CliRunner().invoke(app, words) for words in (["--version"], ["version"])]
    assert [(each.exit_code, each.stdout) for each in asked] == [(0, f"{tspsim.__version__}\n")] * 2


def test_a_folder_of_hugging_face_stands_for_the_shape_in_it(tmp_path: Path) -> None:
    """As downloaded, beside the scenario or by its path; without a config.json that is said."""
    folder = tmp_path / "Meta-Llama-3-8B"
    folder.mkdir()
    empty = f"model={{hf: {folder}, layers: 1, vocab: 0}}"
    with pytest.raises(ScenarioError, match=r"model\.hf: folder .* holds no config\.json"):
        load("tsp-layer", [empty])
    shutil.copy(shipped("models") / "llama-3-8b" / "config.json", folder)
    assert load("tsp-layer", [empty]).model.hidden == 4096
    document = (shipped("scenarios") / "llama3-8b-128k-h100-tsp.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(
        re.sub(r"hf: \S+?([,}\n])", rf"hf: {folder.name}\1", document)
    )
    assert load(tmp_path / "mine.yaml").model.layers == 32


def test_a_first_session_goes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What benchmarks/bench_first_session.py types and times, of a model of one layer."""
    path = Path(__file__).parent.parent / "benchmarks" / "bench_first_session.py"
    script = runpy.run_path(str(path))
    monkeypatch.setitem(script["CONFIG"], "num_hidden_layers", 1)
    wanted = {"question", "which is best", "picture", "Python"}
    steps = [
        step._replace(words=tuple("mine.yaml" if w == "mine" else w for w in step.words))
        for step in script["SESSION"]
        if step.name in wanted
    ]
    done = script["session"](tuple(steps), tmp_path, str(Path(sys.executable).parent))
    assert set(done) == wanted
    assert "step time" in done["Python"]["printed"]
    assert {"mine.yaml", "gantt.png", "python.png"} <= {path.name for path in tmp_path.iterdir()}


def test_a_config_in_place_of_a_scenario_is_told_by_what_it_is() -> None:
    """One line that names the way from a model to a scenario, and no list of unknown keys."""
    path = shipped("models") / "llama-3-8b" / "config.json"
    with pytest.raises(ScenarioError) as told:
        load(path)
    (line,) = told.value.lines
    assert "is a model, no scenario; 'tspsim new --model" in line


@pytest.mark.parametrize(
    ("name", "file"), [("slow-link", "h100-node"), ("tsp-layer", "h100-4-nodes")]
)
def test_another_topology_for_a_shipped_scenario_is_told_how(name: str, file: str) -> None:
    """Keys of a file that nobody can edit may not go with the new one: the remedy is told."""
    with pytest.raises(ScenarioError) as refused:
        load(name, [f"topology.file={file}"])
    for line in refused.value.lines:
        assert line.endswith(
            "write the override topology={file: ...} to replace the whole topology"
        )
    with pytest.raises(ScenarioError, match="would fill them"):  # as told, its keys do go together
        load(name, [f"topology={{file: {file}}}", "strategy.degree=2"])


@pytest.mark.parametrize(
    ("change", "near"),
    [
        ("strategy.kind=FSDP", "(did you mean 'fsdp'?)"),
        ("strategy.kind=fdsp", "(did you mean 'fsdp'?)"),
        ("strategy.kind=zero3", "near: {kind: fsdp, dp: N}"),
        ("strategy.kind=context-parallel", "{kind: sp, degree: N, kv: "),
        ("strategy.kind=pp", "strategy.pp={stages: N, schedule: 1f1b}"),
        ("strategy.kind=ddp", "strategy.dp=N"),
        ("strategy.pipeline_model_parallel_size=2", "strategy.pp={stages: N"),
        ("topology.kind=fat_tree", "{kind: nodes, fabric: "),
        ("workload.phase=inference", "phase: prefill, decode or generate"),
        ("workload.dtype=fp8", "workload.linears=fp8"),
        ("workload.seq_len=8", "near: sequence"),
        ("workload.sequence=8k", "near: 8192"),
        ("workload.sequence=131,072", "near: 131072"),
        ("workload.batch=2.0", "near: 2"),
        ("batch=4", "near: workload.batch"),
        ("workload.weights=fp8", "near: what is kept in fp8"),
        ("strategy=tp", "near: strategy.kind=tp"),
        ("strategy=zero3", "near: {kind: fsdp, dp: N}"),
        ("strategy.pp=2", "near: strategy.pp.stages=2"),
        ("model=llama-3-8b", "near: model.hf=llama-3-8b"),
        ("topology=h100-node", "near: topology.file=h100-node"),
        ("topology.nodes=2", "{file: h100-4-nodes, nodes: N}"),
        ("topology.file=A100-80G", "(did you mean 'a100-16-nodes-fat-tree' or 'a100-node'?)"),
        ("topology.file=h100-sxm", "which is a device"),
    ],
)
def test_what_other_tools_call_otherwise_is_told_by_its_name_here(change: str, near: str) -> None:
    """A refusal of a word for something simulated says where that is, and guesses nothing."""
    with pytest.raises(ScenarioError) as refused:
        load("tsp-layer", [change])
    (line,) = (line for line in refused.value.lines if change.partition("=")[2] in line)
    assert near in line
    assert "did you mean" not in line or "did you mean" in near


@pytest.mark.parametrize(
    ("holds", "near"),
    [
        ("config.json", "tspsim new --model {}"),
        ("result.json", "{}/result.json"),
        ("sweep.sqlite", "tspsim plot {}"),
        ("other", "is a directory, not a file"),
    ],
)
def test_a_folder_in_place_of_a_scenario_is_told_what_it_is_good_for(
    holds: str, near: str, tmp_path: Path
) -> None:
    """By what it holds: a model, a result, a sweep."""
    (tmp_path / holds).touch()
    with pytest.raises(ScenarioError) as refused:
        load(tmp_path)
    assert near.format(tmp_path) in str(refused.value)


@pytest.mark.parametrize("name", ["h100-node", "h100-4-nodes", "gb200-nvl72"])
def test_a_topology_in_place_of_a_scenario_is_told_as_one(name: str) -> None:
    """By its name and by its file: one line, and the command that takes it."""
    for given in (name, shipped("topologies") / f"{name}.yaml"):
        with pytest.raises(ScenarioError) as refused:
            load(given)
        (line,) = refused.value.lines
        assert f"tspsim new --topology {given}" in line


@pytest.mark.parametrize(
    ("command", "said"),
    [
        (["list"], "strategies, schedules"),
        (["plot", "tsp-layer"], "of a run there are: gantt"),
        (["compare", "tsp-layer", "kind=tp,tsp"], "'strategy.kind'"),
    ],
)
def test_what_is_left_out_is_told_with_what_there_is(command: list[str], said: str) -> None:
    """A name that nobody can guess is listed where it is missing."""
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2
    assert said in result.stderr


def test_sharded_replicas_alone_fill_the_devices_in_a_comparison() -> None:
    """``fsdp`` has no degree: its name alone stands for as many replicas as there are devices."""
    found = tspsim.compare("tsp-layer", "strategy=tsp,fsdp", "workload.phase=train")
    assert [each.reason for each in found.candidates] == ["", ""]


def test_no_word_of_other_tools_hides_one_that_is_known() -> None:
    """What is told as unknown is unknown, and a near strategy is one that there is."""
    kinds = elsewhere._VALUES["strategy.kind"]
    assert not kinds.keys() & set(STRATEGIES.names())
    assert not elsewhere._VALUES["topology.kind"].keys() & set(TOPOLOGIES.names())
    named = set(re.findall(r"kind: (\w+)", " ".join(kinds.values())))
    assert {"fsdp", "sp", "tp"} <= named <= set(STRATEGIES.names())


def test_compute_is_one_figure_wherever_it_is_told() -> None:
    """What limits a step has other names than its parts: no page has two shares of one word."""
    result = tspsim.run("tsp-layer")
    found = explain(result, what_if=False)
    limits = {bottleneck.resource for bottleneck in found.bottlenecks}
    assert "flop rate" in limits
    assert not limits & {"compute", "exposed communication", "idle"}


def test_a_run_of_nothing_lists_the_questions_that_shipped_scenarios_answer() -> None:
    """Every one once, with all that answer it; a script that lost its file does not look fine."""
    result = CliRunner().invoke(app, ["run"], env={"COLUMNS": "80"})
    assert result.exit_code == 2
    assert "tspsim new" in result.stderr
    said = " ".join(result.stdout.split())
    assert said.count("?") == len(set(re.findall(r"[A-Z][^?]+\?", said)))
    assert all(re.search(rf"\b{name}\b", said) for name in names("scenarios"))
