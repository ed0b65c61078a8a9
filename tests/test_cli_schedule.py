"""``tspsim schedule``: what every rank of a pipeline runs: drawn, counted, written to a file."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.pipelines import order
from tspsim.cli.app import app
from tspsim.registry import SCHEDULES
from tspsim.schedules.orders.drawing import drawn
from tspsim.schedules.orders.play import equal, play


def asked(*arguments: object) -> str:
    """Return what the command prints when it ends well."""
    result = CliRunner().invoke(app, ["schedule", *map(str, arguments)])
    assert result.exit_code == 0, result.stderr
    return result.stdout


def refused(*arguments: object) -> str:
    """Return what the command says of a mistake of its user."""
    result = CliRunner().invoke(app, ["schedule", *map(str, arguments)])
    assert (result.exit_code, result.stdout) == (2, "")
    return result.stderr


def test_a_schedule_is_drawn_to_scale_with_its_rows() -> None:
    """Of 1F1B on two ranks: a line and a row for each, and how long each waits."""
    lines = asked("1f1b", "--stages", 2, "--micro-batches", 2, "--times", "1,1,1").splitlines()
    assert lines[:4] == [
        "1f1b: 2 ranks, 2 micro-batches",
        "0  FF..BB.BB",
        "1  .FBBFBB..",
        "   a column is 1; . waits",
    ]
    assert lines[-2:] == ["0F0 0F1 0B0 0B1", "1F0 1B0 1F1 1B1"]


def test_times_change_what_is_waited_for_and_not_what_is_run() -> None:
    """Bubble and held activations are those of the closed forms: (p - 1)(f + i + w), and p - r."""
    found = json.loads(asked("1f1b", "--times", "2,3,1", "--json"))
    assert [rank["bubble"] for rank in found["ranks"]] == [3 * 6] * 4
    assert [rank["held"] for rank in found["ranks"]] == [4, 3, 2, 1]
    slow = json.loads(asked("1f1b", "--times", "2,3,1", "--message", 1, "--json"))
    assert slow["step"] > found["step"]
    assert [r["actions"] for r in slow["ranks"]] == [r["actions"] for r in found["ranks"]]


def test_a_long_schedule_fits_into_the_width() -> None:
    """A column then stands for more than an action."""
    lines, unit = drawn(play(order("1f1b", 4, 64), equal(4, 1, 1, 1)), 50)
    assert {len(line) for line in lines} == {50}
    assert unit == pytest.approx((64 * 3 + 3 * 3) / 50)


@pytest.mark.parametrize("name", sorted({*SCHEDULES.names()} - {"dualpipe"}))
@pytest.mark.parametrize("suffix", ["csv", "txt"])
def test_what_is_written_is_read_back(name: str, suffix: str, tmp_path: Path) -> None:
    """A file needs no sizes: it has its own. All but the name is the same."""
    file = tmp_path / f"own.{suffix}"
    made = asked(name, "-o", file)
    assert asked(file).splitlines()[1:] == made.splitlines()[1:]


def test_the_csv_is_what_torch_reads(tmp_path: Path) -> None:
    """A cell per action, each of which torch knows."""
    schedules = pytest.importorskip("torch.distributed.pipelining.schedules")
    file = tmp_path / "own.csv"
    asked("dualpipe_v", "--stages", 2, "-o", file)
    with file.open(newline="", encoding="utf-8") as text:
        rows = [[schedules._Action.from_str(cell) for cell in row] for row in csv.reader(text)]
    assert [" ".join(map(str, row)) for row in rows] == str(order("dualpipe_v", 2, 8)).splitlines()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("zbv",), "unknown pipeline schedule 'zbv' (did you mean 'zb_v'?); known: 1f1b, "),
        (("none.csv",), "none.csv: no such file"),
        (("interleaved", "group_sise=3"), "group_sise: unknown key (did you mean 'group_size'?)"),
        (("1f1b", "a=3"), "a: unknown key; known: none"),
        (("1f1b", "--chunks", 2), "chunks: 2 per rank; this schedule has 1"),
        (("dualpipe", "--stages", 3), "stages: 3; dualpipe needs an even number: 2 or 4"),
        (("1f1b", "--times", "1,2"), "--times: '1,2'; three numbers are expected, as in 1,1,1"),
        (("1f1b", "--times", "0,0,0"), "--times: '0,0,0'; each is from 0 to 1e9, and one is more"),
        (("dualpipe", "-o", "x.csv"), "x.csv: a file says nothing of two pipelines over the same"),
        (("1f1b", "-o", "no/x.csv"), "no/x.csv: cannot be written: there is no folder no"),
    ],
)
def test_a_mistake_is_told(
    arguments: tuple[object, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was found, what is allowed, exit code 2; nothing is printed or written."""
    monkeypatch.chdir(tmp_path)
    assert refused(*arguments).startswith(message)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    """Sizes that are stated have to be the file's; options it has none."""
    file = tmp_path / "own.csv"
    asked("1f1b", "--stages", 2, "-o", file)
    assert "2 lines with actions; a schedule has one per rank, here 3" in refused(
        file, "--stages", 3
    )
    assert "a schedule of 8 micro-batches; 9 are to run" in refused(file, "--micro-batches", 9)
    assert "'group_size=3': a file has no options" in refused(file, "group_size=3")
