"""The result's folder: complete or not there, and nothing else is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests import small_result
from tspsim.files.errors import OutputError
from tspsim.output import folder, trace
from tspsim.runner import load_result


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the result of the tiny scenario, for tests that only read it."""
    directory = tmp_path_factory.mktemp("outputs") / "deep" / "result"
    folder.write(small_result.real(), directory)
    return directory


def names(directory: Path) -> list[str]:
    """Return what lies in a folder, hidden files too."""
    return sorted(path.name for path in directory.iterdir())


def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the pictures be drawn in no time: what they show is not asked here."""
    picture = Path.write_bytes
    monkeypatch.setattr(
        "tspsim.output.pictures.draw", lambda kind, _, path: picture(path, kind.encode())
    )


def result(name: str = "one") -> Any:
    """Return a small result of a scenario of a name."""
    found = small_result.result(degree=2, layers=1)
    found.scenario.name = found.summary.to_dict()["scenario"] = name
    return found


def test_a_folder_holds_all_files_and_nothing_else(written: Path) -> None:
    """The folder and its parents are made; no temporary file stays behind."""
    assert names(written) == sorted(folder.FILES)
    assert names(written.parent) == ["result"]
    assert (written / "gantt.png").read_bytes().startswith(b"\x89PNG")


def test_result_json_is_the_summary_with_the_scenario_and_its_provenance(written: Path) -> None:
    """The keys of --json, and what is needed to run it again."""
    found = json.loads((written / "result.json").read_text(encoding="utf-8"))
    real = small_result.real()
    assert found["document"] == json.loads(json.dumps(real.scenario.document))
    assert found["provenance"]["document"] == real.provenance.document
    assert {k: v for k, v in found.items() if k not in ("document", "provenance")} == json.loads(
        json.dumps(real.summary.to_dict())
    )


def test_a_folder_is_read_back_as_the_same_result(written: Path) -> None:
    """Loading simulates the stored scenario again: every time is the same to the last bit."""
    for place in (written, written / "result.json"):
        again = load_result(place)
        for one, two in zip(again.timeline.end, small_result.real().timeline.end, strict=True):
            assert one.tobytes() == two.tobytes()


def test_an_earlier_result_of_the_same_scenario_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the user has put something beside it, which stays."""
    quick(monkeypatch)
    folder.write(result(), tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "gantt.png").write_bytes(b"old")
    folder.write(result(), tmp_path)
    assert (tmp_path / "gantt.png").read_bytes() == b"gantt"
    assert (tmp_path / "notes.txt").read_text() == "mine"
    assert names(tmp_path) == sorted([*folder.FILES, "notes.txt"])


def test_a_result_of_another_scenario_is_kept_unless_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message names both scenarios."""
    quick(monkeypatch)
    folder.write(result("one"), tmp_path)
    with pytest.raises(OutputError, match="holds a result of scenario 'one', this one is 'two'"):
        folder.write(result("two"), tmp_path)
    folder.write(result("two"), tmp_path, force=True)
    assert json.loads((tmp_path / "result.json").read_text())["scenario"] == "two"


def test_a_folder_that_holds_something_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is written beside it, unless that is asked for; and nothing is deleted."""
    quick(monkeypatch)
    for name in "abcde":
        (tmp_path / name).write_text("mine")
    with pytest.raises(OutputError, match=r"holds something else \(a, b, c and 2 more\)"):
        folder.write(result(), tmp_path)
    assert names(tmp_path) == list("abcde")
    folder.write(result(), tmp_path, force=True)
    assert names(tmp_path) == sorted([*folder.FILES, *"abcde"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"scenario": "one"}'])
def test_a_result_json_of_someone_else_is_refused(tmp_path: Path, text: str) -> None:
    """Neither overwritten nor loaded: it is not ours."""
    (tmp_path / "result.json").write_text(text)
    for refused in (lambda: folder.write(result(), tmp_path), lambda: load_result(tmp_path)):
        with pytest.raises(OutputError, match=r"result\.json"):
            refused()
    assert (tmp_path / "result.json").read_text() == text


def test_a_file_where_the_folder_should_be_is_refused(tmp_path: Path) -> None:
    """Whether it is the folder itself or one of its parents."""
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OutputError, match="is a file; the results need a folder"):
        folder.write(result(), tmp_path / "file")
    with pytest.raises(OutputError, match="cannot be written"):
        folder.write(result(), tmp_path / "file" / "below")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_without_permission_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message says that it is a matter of permission."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(OutputError, match="may not be written by this user"):
        folder.write(result(), tmp_path / "new")


@pytest.mark.parametrize("there", [True, False])
def test_a_failure_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, there: bool
) -> None:
    """An interrupt while the files are written leaves no half result and no scratch folder."""
    quick(monkeypatch)
    place = tmp_path / "result"
    if there:
        folder.write(result(), place)
    before = {path.name: path.read_bytes() for path in place.iterdir()} if there else None

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(trace, "write", interrupt)
    with pytest.raises(KeyboardInterrupt):
        folder.write(result(), place)
    after = {path.name: path.read_bytes() for path in place.iterdir()} if there else None
    assert after == before
    assert names(tmp_path) == (["result"] if there else [])


def test_loading_from_nowhere_says_how_to_make_a_result(tmp_path: Path) -> None:
    """A folder without a result, or no folder at all."""
    for place in (tmp_path, tmp_path / "missing"):
        with pytest.raises(OutputError, match="'tspsim run SCENARIO -o DIR' makes a result"):
            load_result(place)
