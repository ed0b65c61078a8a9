"""``tspsim export`` of a run: forms that a registry finds, written whole or not at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tspsim
from tspsim.cli.app import app
from tspsim.output import exporting, folder, spans, trace
from tspsim.output.exports import kineto
from tspsim.output.exports import trace as trace_form
from tspsim.registry import EXPORTS

SMALL = ("tsp-layer", "workload.sequence=4096", "topology.ranks=2", "strategy.degree=2")


def call(*arguments: object) -> Result:
    """Run a command."""
    return CliRunner().invoke(app, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a result, ``run``, and a sweep, ``sweep``."""
    top = tmp_path_factory.mktemp("made")
    (top / "run").mkdir()
    (top / "run" / "result.json").write_text(json.dumps(folder.to_dict(tspsim.run(*SMALL))))
    tspsim.sweep(SMALL[0], "workload.sequence=4096", output=top / "sweep")
    return top


def test_a_scenario_with_changes_becomes_the_files_that_run_writes(tmp_path: Path) -> None:
    """The trace and the spans of a run, packed or not."""
    result = tspsim.run(*SMALL)
    trace.write(result, tmp_path / "trace")
    spans.write(result.timeline, tmp_path / "csv")
    for form, suffix in (("trace", "json"), ("csv", "csv")):
        packed, plain = tmp_path / f"t.{suffix}.gz", tmp_path / f"t.{suffix}"
        for target in (packed, plain):
            ran = call("export", *SMALL, "--format", form, "-o", target)
            assert (ran.exit_code, ran.stderr) == (0, f"wrote {target}\n")
        assert packed.read_bytes() == (tmp_path / form).read_bytes()
        assert plain.read_bytes() == gzip.decompress(packed.read_bytes())


def test_a_folder_of_a_result_is_a_run_too(made: Path, tmp_path: Path) -> None:
    """Also its result.json; changes count."""
    for source, more in ((made / "run", ()), (made / "run" / "result.json", ("name=other",))):
        target = tmp_path / f"{source.name}.json"
        assert call("export", source, *more, "--format", "trace", "-o", target).exit_code == 0
        told = json.loads(target.read_text())["otherData"]["scenario"]
        assert told == ("other" if more else "tsp-layer")


def test_a_form_of_many_files_fills_a_folder(tmp_path: Path) -> None:
    """And says how many."""
    target = tmp_path / "traces"
    ran = call("export", *SMALL, "--format", "kineto", "-o", target)
    assert (ran.exit_code, ran.stderr) == (0, f"wrote {target}: 2 files\n")
    assert {path.name for path in target.iterdir()} == {"rank0.json.gz", "rank1.json.gz"}


def test_what_is_there_is_left_alone_unless_forced(tmp_path: Path) -> None:
    """A file, and a folder that holds something: before anything is simulated."""
    file, place = tmp_path / "t.json", tmp_path / "folder"
    file.write_text("mine")
    place.mkdir()
    for name in ("rank7.json.gz", "notes.txt"):
        (place / name).write_text("mine")
    ran = call("export", *SMALL, "--format", "trace", "-o", file)
    assert (ran.exit_code, file.read_text()) == (2, "mine")
    assert ran.stderr == f"{file}: is there already; choose another name, or use --force\n"
    ran = call("export", *SMALL, "--format", "kineto", "-o", place)
    assert ran.exit_code == 2
    assert ran.stderr == (
        f"{place}: holds something; choose an empty or a new folder, or use --force, which "
        "replaces its rank*.json.gz\n"
    )
    assert call("export", *SMALL, "--format", "trace", "-o", file, "--force").exit_code == 0
    assert file.read_text().startswith("{")
    assert call("export", *SMALL, "--format", "kineto", "-o", place, "--force").exit_code == 0
    assert {p.name for p in place.iterdir()} == {"rank0.json.gz", "rank1.json.gz", "notes.txt"}
    assert (place / "notes.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ("SWEEP --format trace -o T.json", "SWEEP: holds a sweep, and 'trace' is a form of one run;"
         " of a sweep there are: csv, json, md, latex, parquet"),
        ("RUN --format latex -o T.tex", "RUN: is a run, and 'latex' is a table of a sweep ('tspsim "
         "sweep SCENARIO KEY=VALUES -o DIR' makes one); of a run there are: "),
        ("RUN --format trase -o T.json", "unknown format 'trase' (did you mean 'trace'?); known: "),
        ("SWEEP --format trase", "unknown format 'trase'; known: csv, json, latex, md, parquet"),
        ("RUN", "form 'csv' of a run is a file: say which, -o PATH"),
        ("RUN --format kineto", "form 'kineto' of a run is a folder: say which, -o PATH"),
        ("RUN --format trace -o T.png", "T.png: a file of form 'trace' ends in .json.gz or .json"),
        ("RUN --format trace -o RUN/no/t.json", "cannot be written: there is no folder"),
        ("RUN --format kineto -o RUN/result.json", "is a file; the files of all ranks need"),
        ("RUN --columns mesh -o T.csv", "--columns: chooses columns of a sweep's table"),
        ("SWEEP workload.batch=2", "SWEEP: holds a sweep, of which nothing is changed: workload"),
        ("SWEEP --force", "--force: is for a run"),
        ("EMPTY", "EMPTY: holds no result and no sweep; 'tspsim run SCENARIO -o DIR' or"),
        ("nothing -o T.csv", "found no file 'nothing'"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_with_what_can(
    arguments: str, told: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 2, and nothing is written or simulated."""
    (tmp_path / "empty").mkdir()
    places = {"SWEEP": made / "sweep", "RUN": made / "run", "EMPTY": tmp_path / "empty"}
    places["T."] = f"{tmp_path}/t."
    for word, place in places.items():
        arguments, told = arguments.replace(word, str(place)), told.replace(word, str(place))
    monkeypatch.setattr("tspsim.runner.simulate_scenario", None)
    before = set(tmp_path.rglob("*"))
    ran = call("export", *arguments.split())
    assert ran.exit_code == 2, ran.exception
    assert told in ran.stderr
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (OSError(28, "No space left on device"), (2, "cannot be written: No space left on device")),
        (KeyboardInterrupt(), (130, "interrupted")),
    ],
    ids=["a full disk", "an interrupt"],
)
def test_what_fails_on_the_way_leaves_nothing(
    error: BaseException, told: tuple[int, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither half a file nor half a folder."""

    def torn(*_: Any) -> Any:
        yield "{"
        raise error

    monkeypatch.setattr(trace_form, "trace", SimpleNamespace(blocks=torn))
    monkeypatch.setattr(kineto, "_blocks", torn)
    for form, name in (("trace", "t.json"), ("kineto", "traces")):
        ran = call("export", *SMALL, "--format", form, "-o", tmp_path / name)
        assert (ran.exit_code, ran.stderr.strip()[-len(told[1]) :]) == told
    assert list(tmp_path.iterdir()) == []


def test_every_form_says_what_it_is_for() -> None:
    """``tspsim list exports`` has a line about each, and each says what it is written to."""
    found = json.loads(call("list", "exports", "--json").stdout)["exports"]
    assert tuple(entry["name"] for entry in found) == EXPORTS.names()
    assert all(20 < len(entry["about"]) < 120 for entry in found)
    assert {name for name in EXPORTS.names() if exporting.is_folder(name)} >= {"kineto"}


def test_equal_runs_give_equal_bytes(tmp_path: Path) -> None:
    """A file depends on the run alone."""
    for place in ("a", "b"):
        exporting.write("kineto", tspsim.run(*SMALL), tmp_path / place)
    assert (tmp_path / "a" / "rank1.json.gz").read_bytes() == (
        tmp_path / "b" / "rank1.json.gz"
    ).read_bytes()
