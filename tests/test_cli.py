"""The command line: what goes to stdout, what to stderr, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

import tspsim
from tspsim.cli import version
from tspsim.cli.app import app
from tspsim.files.errors import UserError
from tspsim.files.shipped import names, shipped
from tspsim.program.types import Programs
from tspsim.registry import PLOTS, STRATEGIES
from tspsim.scenario import from_document
from tspsim.strategies.tsp import TensorSequenceParallel

ROOT = Path(__file__).parent.parent
SMALL = """\
name: small
model: {hidden: 64, layers: 2, heads: 8, kv_heads: 4, ffn: 128, vocab: 256}
workload: {sequence: 64}
topology: {kind: ring, ranks: 4, link: {bandwidth: 50 GB/s, latency: 1 us}, device: h100-sxm}
strategy: {kind: tsp, degree: 4}
"""


@pytest.fixture
def small(tmp_path: Path) -> str:
    """Return a scenario that runs in milliseconds."""
    path = tmp_path / "small.yaml"
    path.write_text(SMALL)
    return str(path)


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


def process(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, env=environment, **options
    )


def test_run_prints_the_table_and_writes_nothing(small: str, tmp_path: Path) -> None:
    """Without -o the folder stays as it was."""
    result = call("run", small)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "step time" in result.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["small.yaml"]


def test_run_json_has_the_fixed_keys(small: str) -> None:
    """The keys that other programs rely on."""
    found = json.loads(call("run", small, "--json").stdout)
    assert {
        "scenario", "strategy", "ranks", "step_time", "tokens_per_second",
        "tokens_per_second_per_device", "mfu", "hfu", "time", "communication", "memory",
        "flops_per_rank", "engine", "profile",
    } <= found.keys()  # fmt: skip
    assert found["strategy"] == {"kind": "tsp", "axes": {"tsp": 4}}
    assert {"compute", "exposed_communication", "idle"} == found["time"].keys()
    assert {"capacity", "peak", "peak_rank", "peak_time", "at_peak", "fits"} <= found[
        "memory"
    ].keys()
    assert sum(found["time"].values()) == pytest.approx(found["step_time"])


def test_overrides_change_what_is_run(small: str) -> None:
    """Several of them, behind the file's name."""
    found = json.loads(call("run", small, "--json", "strategy.degree=2", "topology.ranks=2").stdout)
    assert found["ranks"] == 2


def test_folder_is_written_and_runs_again(small: str, tmp_path: Path) -> None:
    """``run -o`` writes the result, ``run result.json`` gives the same figures."""
    out = tmp_path / "out"
    first = call("run", small, "--json", "-o", str(out))
    assert first.stderr == f"wrote {out}\n"
    again = call("run", str(out / "result.json"), "--json")
    wanted, found = json.loads(first.stdout), json.loads(again.stdout)
    assert {**wanted, "engine": None} == {**found, "engine": None}


def test_folder_with_something_else_is_refused_before_anything_runs(
    small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for a simulation whose result has no place."""
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "thesis.tex").write_text("...")
    monkeypatch.setattr("tspsim.runner.simulate", None)
    result = call("run", small, "-o", str(tmp_path / "precious"))
    assert (result.exit_code, result.stdout) == (2, "")
    assert "holds something else (thesis.tex)" in result.stderr


def test_model_that_does_not_fit_is_an_answer(small: str) -> None:
    """Exit code 3 only for those who ask for it."""
    tight = "topology.device.memory=100 KiB"
    result = call("run", small, tight)
    assert result.exit_code == 0
    assert "DOES NOT FIT" in result.stdout
    assert call("run", small, tight, "--fail-on-oom").exit_code == 3
    roomy = call("run", small, "--fail-on-oom")
    assert (roomy.exit_code, "DOES NOT FIT" in roomy.stdout) == (0, False)


def test_check_prints_every_tensor_and_passes(small: str) -> None:
    """The proof of a schedule that is right."""
    result = call("check", small)
    assert result.exit_code == 0
    assert "L1.w_down gradient" in result.stdout
    assert "DIFFERS" not in result.stdout
    assert json.loads(call("check", small, "--json").stdout)["passed"] is True


def test_check_of_a_wrong_schedule_fails(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A strategy that sends to the wrong neighbour exits with 1 and names the tensors."""
    record = TensorSequenceParallel.record

    def wrong(self: TensorSequenceParallel, *arguments: Any) -> Programs:
        programs = record(self, *arguments)
        role = programs.roles[0]
        kept = [op for op in role.ops if op.message and op.message.collective == "shift"]
        turned = kept[0]._replace(message=kept[0].message._replace(offset=2))
        ops = tuple(turned if op.index == turned.index else op for op in role.ops)
        changed = type(role)(ops, role.buffers, role.lanes, role.waits)
        return Programs((changed,), programs.role_of_rank)

    monkeypatch.setattr(TensorSequenceParallel, "record", wrong)
    result = call("check", small)
    assert result.exit_code == 1
    assert "DIFFERS" in result.stdout


@pytest.mark.parametrize(
    "strategy",
    [
        "{kind: tsp, degree: 4}",
        "{kind: tp, degree: 4}",
        "{kind: tp, degree: 4, sequence_parallel: true}",
        "{kind: sp, degree: 4}",
        "{kind: sp, degree: 4, kv: ring}",
        "{kind: tp_sp, tp: 2, sp: 2}",
        "{kind: tp_sp, tp: 4, sp: 1}",
    ],
)
def test_show_holds_the_program_against_the_closed_form(strategy: str, small: str) -> None:
    """Forward volume of a layer: recorded and published are the same number."""
    found = json.loads(call("show", small, "--json", f"strategy={strategy}").stdout)
    volumes = found["layer_forward_bytes"]
    assert volumes["recorded"] == pytest.approx(volumes["closed_form"], rel=1e-12)
    assert volumes["recorded"] > 0


def test_show_states_no_closed_form_where_none_is_written_down(small: str) -> None:
    """A gap is better than a number that is not meant for the case."""
    ulysses = "strategy={kind: sp, degree: 4, kv: ulysses}"
    assert "none is written down" in call("show", small, ulysses).stdout


def test_show_prints_a_scenario_that_can_be_run(small: str, tmp_path: Path) -> None:
    """Its first part is the resolved scenario as YAML."""
    yaml = call("show", small).stdout.partition("\n\n")[0]
    copy = tmp_path / "copy.yaml"
    copy.write_text(yaml)
    assert call("run", str(copy)).exit_code == 0


def test_plot_draws_from_a_folder(small: str, tmp_path: Path) -> None:
    """The picture lies beside the result unless another place is asked for."""
    out = tmp_path / "out"
    call("run", small, "-o", str(out))
    result = call("plot", str(out), "--kind", "memory", "-o", str(tmp_path / "memory.svg"))
    assert (result.exit_code, result.stderr) == (0, f"wrote {tmp_path / 'memory.svg'}\n")
    assert (tmp_path / "memory.svg").read_text().startswith("<?xml")


def test_plot_draws_the_window_that_is_asked_for(small: str, tmp_path: Path) -> None:
    """A stretch of time on some ranks, and the memory of one rank."""
    out, picture = tmp_path / "out", tmp_path / "gantt.svg"
    call("run", small, "-o", str(out))
    chosen = ("--window", "0 us:5 us", "--ranks", "1,2", "-o", str(picture))
    assert call("plot", str(out), "--kind", "gantt", *chosen).exit_code == 0
    assert "ranks 1, 2 of 4" in picture.read_text()
    assert call("plot", str(out), "--kind", "memory", "--rank", "3").exit_code == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("gantt", "--window", "3"), "--window: '3' is not a window"),
        (("gantt", "--window", "0:1"), "(it has no unit; write for example"),
        (("gantt", "--layers", "a"), "--layers: 'a' is not a whole number"),
        (("gantt", "--ranks", "9"), "ranks [9]: there are ranks 0 to 3"),
        (("memory", "--rank", "9"), "rank 9: there are ranks 0 to 3"),
        (("roofline", "--rank", "9"), "rank 9: there are ranks 0 to 3"),
        (("memory", "--layers", "1"), "a memory plot has no layers to choose"),
    ],
)
def test_plot_options_that_make_no_sense_are_refused(
    small: str, tmp_path: Path, options: tuple[str, ...], message: str
) -> None:
    """Each says what was found and what there is."""
    result = call("plot", small, "--kind", *options, "-o", str(tmp_path / "picture.png"))
    assert result.exit_code == 2
    assert message in result.stderr
    assert not [*tmp_path.glob("*.png")]


def test_plot_of_an_unknown_kind_is_refused(tmp_path: Path) -> None:
    """The known ones are named."""
    result = call("plot", str(tmp_path), "--kind", "gannt")
    assert result.exit_code == 2
    assert "unknown plot 'gannt' (did you mean 'gantt'?)" in result.stderr


@pytest.mark.parametrize(
    ("what", "name"),
    [
        ("strategies", "tsp"),
        ("schedules", "1f1b"),
        ("collectives", "ring"),
        ("topologies", "mi300x-node"),
        ("topologies", "kind: torus"),
        ("devices", "h100-sxm"),
        ("models", "llama-3-8b"),
        ("scenarios", "tsp-layer"),
        ("plots", "gantt"),
        ("exports", "trace"),
    ],
)
def test_list_has_a_line_about_everything(what: str, name: str) -> None:
    """Names as a scenario would use them; no entry without a word about it."""
    found = json.loads(call("list", what, "--json").stdout)[what]
    assert name in [entry["name"] for entry in found]
    assert all(entry["about"] for entry in found)
    assert name in call("list", what).stdout


def test_list_of_something_unknown_is_refused() -> None:
    """With a suggestion."""
    result = call("list", "stratgies")
    assert result.exit_code == 2
    assert "did you mean 'strategies'?" in result.stderr


def test_schema_is_json() -> None:
    """It names every strategy."""
    definitions = json.loads(call("schema").stdout)["$defs"]
    assert {f"strategy.{name}" for name in STRATEGIES.names()} <= definitions.keys()


def test_version_is_that_of_the_package() -> None:
    """One number in two places."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert call("version").stdout == f"{project['version']}\n" == f"{tspsim.__version__}\n"
    assert json.loads(call("version", "--json").stdout) == {"tspsim": tspsim.__version__}


def test_version_all_tells_what_a_number_may_depend_on() -> None:
    """Every dependency that counts, every extra, every shipped profile; in the table too."""
    found = json.loads(call("version", "--all", "--json").stdout)
    keys = ["tspsim", "python", "platform", "packages", "extras", "profiles", "tables"]
    assert list(found) == keys
    assert found["packages"]["numpy"] == np.__version__
    assert found["profiles"].keys() == set(names("topologies/profiles"))
    assert all(re.fullmatch("[0-9a-f]{64}", digest) for digest in found["profiles"].values())
    table = call("version", "--all").stdout
    for name in ("tspsim", "python", "platform", *found["packages"], *found["profiles"]):
        assert re.search(rf"\b{re.escape(name)} ", table)


def test_version_knows_the_extras_of_the_project() -> None:
    """Names and packages are those of pyproject.toml, but for the developers' own."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {
        name: tuple(sorted(re.split(r"[<>=]", each)[0] for each in held))
        for name, held in project["optional-dependencies"].items()
    }
    assert {name: tuple(sorted(held)) for name, held in version.EXTRAS.items()} == {
        name: held for name, held in extras.items() if name not in ("dev", "docs")
    }


def test_a_package_that_is_not_there_is_told_as_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The extra is then not present; nothing fails."""
    monkeypatch.setattr(version, "EXTRAS", {"some": ("numpy", "no-such-package")})
    extra = json.loads(call("version", "--all", "--json").stdout)["extras"]["some"]
    assert extra == {
        "present": False,
        "packages": {"numpy": np.__version__, "no-such-package": None},
    }
    assert "no-such-package missing" in call("version", "--all").stdout


def test_a_changed_profile_has_another_digest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One figure is enough; how lines end is not."""
    source = shipped("topologies/profiles") / "h100-published.yaml"
    text = source.read_text(encoding="utf-8")
    (tmp_path / "same.yaml").write_text(text, newline="\r\n")
    (tmp_path / "other.yaml").write_text(text.replace("0", "1", 1))
    before = version.everything()["profiles"]["h100-published"]
    monkeypatch.setattr("tspsim.files.shipped.shipped", lambda _: tmp_path)
    after = version.everything()["profiles"]
    assert after["same"] == before != after["other"]


def test_interrupt_exits_with_130(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is no error and shows no traceback."""

    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("tspsim.runner.simulate", interrupt)
    result = call("run", small)
    assert (result.exit_code, result.stderr) == (130, "interrupted\n")


def test_shipped_scenario_is_found_from_anywhere(tmp_path: Path) -> None:
    """By its name or its path in the repository; its own process has no checkout around it."""
    for name in ("tsp-layer", "scenarios/tsp-layer.yaml"):
        result = process("-m", "tspsim", "run", name, "--json", cwd=tmp_path)
        assert (result.returncode, result.stderr) == (0, "")
        assert json.loads(result.stdout)["scenario"] == "tsp-layer"


def test_help_imports_nothing_that_takes_long() -> None:
    """Shell completion and help run the program again and again."""
    result = process("-X", "importtime", "-m", "tspsim", "--help")
    assert result.returncode == 0
    assert "run" in result.stdout
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in
                result.stderr.splitlines()}  # fmt: skip
    assert "typer" in imported
    assert not imported & {"numpy", "networkx", "matplotlib", "pint", "simpy", "pandas"}


def test_importing_the_package_imports_nothing_that_takes_long() -> None:
    """The public names are found when they are used."""
    code = (
        "import sys, tspsim; assert not {'numpy', 'networkx', 'pydantic'} & set(sys.modules); "
        "assert callable(tspsim.run) and callable(tspsim.load) and tspsim.Result"
    )
    assert process("-W", "error", "-c", code).returncode == 0


def test_user_error_has_no_traceback_in_a_process_of_its_own() -> None:
    """Exit code 2, the message alone."""
    result = process("-m", "tspsim", "run", "nowhere.yaml")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("found no file 'nowhere.yaml'")
    assert "Traceback" not in result.stderr


def test_reader_that_leaves_is_no_error() -> None:
    """``tspsim show ... | head -1`` ends quietly."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "tspsim", "list", "models"]
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "w") as closed:
        result = subprocess.run(
            command, stdout=closed, stderr=subprocess.PIPE, text=True, env=environment
        )
    assert (result.returncode, result.stderr) == (0, "")


def test_result_shows_itself(small: str) -> None:
    """In a terminal and in a notebook: name, step time, memory and verdict."""
    result = tspsim.run(small)
    for text in (repr(result), result._repr_html_()):
        assert "small" in text
        assert "step time" in text
        assert "fits" in text


def test_result_gives_a_frame_with_a_row_per_task(small: str) -> None:
    """Rows are the tasks of all ranks, columns those of the documentation."""
    pytest.importorskip("pandas")
    result = tspsim.run(small, "engine.fold=off")
    frame = result.frame()
    assert len(frame) == result.timeline.tasks
    assert (frame["end"] >= frame["start"]).all()
    assert frame["end"].max() == result.summary.step_time


def test_frame_without_pandas_names_the_extra(small: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(UserError, match=r"pip install '\.\[frames\]'"):
        tspsim.run(small).frame()


def test_result_plots_every_registered_plot_by_name(small: str) -> None:
    """``result.plot.gantt()``, and an AttributeError for what there is not."""
    result = tspsim.run(small)
    assert dir(result.plot) == sorted(PLOTS.names())
    assert result.plot.memory() is not None
    with pytest.raises(AttributeError, match="no plot 'pie'"):
        _ = result.plot.pie


def test_run_takes_a_scenario_a_mapping_and_overrides(small: str) -> None:
    """From Python nothing has to go through a file."""
    scenario = tspsim.load(small)
    assert tspsim.run(scenario).scenario is scenario
    assert tspsim.run(scenario, "strategy.slots=3").scenario.document["strategy"]["slots"] == 3
    assert tspsim.run(scenario.document).scenario == from_document(scenario.document)


def test_equal_scenarios_have_equal_hashes(small: str) -> None:
    """The provenance tells whether two results rest on the same scenario."""
    one, same = tspsim.run(small), tspsim.run(small, "strategy.slots=2")
    other = tspsim.run(small, "strategy.slots=3")
    assert one.provenance.document == same.provenance.document != other.provenance.document
