"""A seeded share of the fuzz run, and what its judge, its laws and its processes would find."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from random import Random

import numpy as np
import pytest

import tspsim
from tests.fuzzing import bases, crew, inputs, judge, laws, report, scenarios
from tests.fuzzing.inputs import CLASSES, Outcome
from tests.fuzzing.judge import Done

#: Of the fuzz run proper, which docs/reliability.md tells of.
SEED, INPUTS = 1, 80


@pytest.fixture(scope="module")
def there(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder in which the real program has written results and sweeps."""
    folder = tmp_path_factory.mktemp("fuzz") / "bases"
    folder.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tspsim.sweeps.crew.crew", crew.alone)
        bases.make(folder)
    return folder


def test_the_first_inputs_of_the_fuzz_run_find_nothing(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit codes, messages, time and laws are as docs/reliability.md promises."""
    monkeypatch.setattr("tspsim.sweeps.crew.crew", crew.alone)
    outcomes = [inputs.judged(SEED, number, there) for number in range(INPUTS)]
    assert report.findings(outcomes) == ""
    assert {outcome.kind for outcome in outcomes} == set(CLASSES)
    assert {outcome.code for outcome in outcomes} >= {0, 2}


def test_an_input_follows_from_its_seed_and_number(there: Path, tmp_path: Path) -> None:
    """The same files and words come out again, and others of another number."""
    made = []
    for name, number in (("one", 3), ("two", 3), ("three", 4)):
        folder = tmp_path / name
        folder.mkdir()
        _, case = inputs.make(SEED, number, folder, there)
        files = {p.name: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
        made.append((case, files))
    assert made[0] == made[1]
    assert made[0] != made[2]


@pytest.mark.parametrize(
    ("done", "fault"),
    [
        (Done(1, "", "failed", 0.0), "exit code 1"),
        (Done(None, "", "", 0.0, "KeyError at x.py:3"), "KeyError"),
        (Done(0, "", "Traceback (most recent call last):", 0.0), "traceback"),
        (Done(0, "a\x1b[31m", "", 0.0), "control characters"),
        (Done(0, "", "", 11.0), "longer than 10 s"),
        (Done(2, "", "something is wrong", 0.0), "names no place"),
        (Done(0, "", "", 0.0, "RuntimeWarning at x.py:3"), "RuntimeWarning"),
    ],
)
def test_the_judge_finds(done: Done, fault: str) -> None:
    """Every promise that a command can break is held against how it ended."""
    (found,) = judge.faults(("run", "s.yaml"), done)
    assert fault in found


@pytest.mark.parametrize("said", ["s.yaml:3:1: no", "model.heads: no", "s.yaml: no", "no -o DIR"])
def test_the_judge_takes_a_message_that_names_a_place(said: str) -> None:
    """A line of a file, a key, an argument or an option is a place; a file left behind is not."""
    done = Done(2, "", said, 0.0)
    assert list(judge.faults(("run", "s.yaml"), done)) == []
    assert list(judge.faults(("run", "s.yaml"), done, ["out"])) == ["leaves out behind"]


def test_an_exception_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What escapes from a command is a fault, named by the line of tspsim that it comes from."""
    monkeypatch.setattr("tspsim.cli.lists.entries", lambda _: 1 // 0)
    done = judge.play(("list", "models"), tmp_path)
    assert done.code is None
    assert done.fault.startswith("ZeroDivisionError at tspsim/cli/app.py:")


def test_the_laws_find_what_breaks_them() -> None:
    """Spans that overlap, figures that do not add up, memory that is left over, other times."""
    result = tspsim.run(RIGHT)
    line = result.timeline
    assert not list(laws.broken(RIGHT))
    late = dataclasses.replace(line, start=tuple(start * 0 for start in line.start))
    assert list(laws.overlaps(dataclasses.replace(result, timeline=late)))
    half = dataclasses.replace(result.summary, step_time=result.summary.step_time / 2)
    assert list(laws.sums(dataclasses.replace(result, summary=half)))
    ranks = tuple(
        dataclasses.replace(
            rank, by_kind=rank.by_kind + np.eye(len(rank.by_kind), 1, dtype=np.int64)
        )
        for rank in result.memory.ranks
    )
    kept = dataclasses.replace(result, memory=dataclasses.replace(result.memory, ranks=ranks))
    assert list(laws.memory(kept))
    assert len(list(laws.same("x", result, tspsim.run(RIGHT, "workload.batch=2")))) == 2


def test_tp_sp_with_one_axis_of_one_is_written_as_the_other() -> None:
    """Options that the other strategy lacks are left out, and so is the axis of the placement."""
    assert laws.alone(RIGHT) is None
    options = {"kind": "tp_sp", "tp": 1, "sp": 2, "kv": "ring", "sequence_parallel": True,
               "placement": ["sp", "tp"]}  # fmt: skip
    other = laws.alone(RIGHT | {"strategy": options})
    assert other is not None
    assert other["strategy"] == {"kind": "sp", "degree": 2, "kv": "ring", "placement": ["sp"]}


def test_a_process_that_hangs_or_dies_is_replaced(there: Path) -> None:
    """Its input is told with what was asked, and the next one is played."""
    worker = crew.Worker(SEED, there)
    try:
        worker.give(0)
        while (found := worker.take()) is None:
            pass
        worker.give(0)
        assert worker.replaced("hangs") == Outcome(
            0, found.kind, (), None, ("hangs",), pytest.approx(0, abs=5)
        )
        worker.give(0)
        worker.end()
        while (found := worker.take()) is None:  # What it told before it died.
            pass
        assert found.faults == ("the process dies",)
    finally:
        worker.close()


def test_the_table_is_renewed_between_its_markers(tmp_path: Path) -> None:
    """The rest of the document stays; without markers nothing is written."""
    outcomes = [Outcome(0, "overrides", ("run",), 2, (), 0.1)]
    path = tmp_path / "page.md"
    path.write_text("a\n<!-- fuzz -->\nold\n<!-- end of fuzz -->\nb\n", encoding="utf-8")
    report.renew(path, outcomes, SEED)
    text = path.read_text(encoding="utf-8")
    assert text.startswith("a\n<!-- fuzz -->\n")
    assert text.endswith("<!-- end of fuzz -->\nb\n")
    assert "| overrides | 1 | 0 | 1 | 0 | 0 |" in text
    path.write_text("nothing", encoding="utf-8")
    with pytest.raises(ValueError, match="has no"):
        report.renew(path, outcomes, SEED)


RIGHT = {
    "name": "right",
    "model": {"hidden": 64, "layers": 1, "heads": 8, "ffn": 64, "vocab": 0},
    "workload": {"sequence": 64},
    "topology": {"kind": "ring", "ranks": 2, "device": "h100-sxm",
                 "link": {"bandwidth": "50 GB/s", "latency": "1 us"}},
    "strategy": {"kind": "tp", "degree": 2},
}  # fmt: skip


def test_most_drawn_scenarios_are_right(tmp_path: Path) -> None:
    """The laws are held against something: of twenty scenarios at least half run."""
    codes = []
    for number in range(20):
        rng = Random(number)  # noqa: S311 - nothing is secret here
        scenarios.write(tmp_path / "s.yaml", scenarios.scenario(rng))
        codes.append(judge.play(("show", "s.yaml"), tmp_path).code)
    assert codes.count(0) >= 10
