"""The simulator against torch's own counts, under a fake process group: no hardware, full size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from tspsim.calibrate.oracle import ask
from tspsim.calibrate.oracle.compare import Report, compare_all
from tspsim.calibrate.oracle.jobs import Job
from tspsim.calibrate.oracle.numbers import Call, Moment, Numbers, milestones
from tspsim.calibrate.oracle.plot import draw
from tspsim.calibrate.oracle.simulated import simulate
from tspsim.calibrate.oracle.suite import DTENSOR, PICTURES, REFERENCE, small
from tspsim.calibrate.oracle.table import table
from tspsim.files.errors import ScenarioError, UserError

pytest.importorskip("torch", reason="the oracles run torch: pip install '.[calibrate]'")

DOCS = Path(__file__).parent.parent / "docs"

#: Every strategy and every option once more, small, with grouped queries and single precision.
SMALL_DTENSOR = tuple(map(small, DTENSOR[::3]))
SMALL_REFERENCE = tuple(map(small, (*REFERENCE[::3], REFERENCE[5], REFERENCE[11])))
FULL = (*REFERENCE, *DTENSOR)
EVERY = (*FULL, *SMALL_REFERENCE, *SMALL_DTENSOR)

Reported = Callable[[Job], Report]


@pytest.fixture(scope="module")
def reported() -> Reported:
    """Return what looks up a job's report; one torch process answers all that is asked."""

    @cache
    def everything() -> dict[Job, Report]:
        return {report.job: report for report in compare_all(EVERY)}

    return lambda job: everything()[job]


@pytest.mark.parametrize("job", EVERY, ids=lambda job: job.title)
class TestExact:
    """Both sides count the same."""

    def test_flops_are_equal(self, reported: Reported, job: Job) -> None:
        """Not nearly: the same number."""
        report = reported(job)
        assert report.torch.flops > 0
        assert report.flops_error == 0

    def test_messages_are_equal(self, reported: Reported, job: Job) -> None:
        """Every kind and size is sent as often, after the differences that have a name."""
        report = reported(job)
        assert report.torch.calls
        assert report.unexplained_messages == {}


@pytest.mark.parametrize("job", REFERENCE + SMALL_REFERENCE, ids=lambda job: job.title)
def test_reference_needs_no_explained_messages(reported: Reported, job: Job) -> None:
    """Its collectives are the simulator's, one by one."""
    assert reported(job).messages == ()


@pytest.mark.parametrize("job", DTENSOR, ids=lambda job: job.title)
def test_bytes_at_dtensors_peak_are_within_1_percent(reported: Reported, job: Job) -> None:
    """At the moment of torch's peak: the simulator's bytes, and those that have a name."""
    assert abs(reported(job).unexplained_peak) < 0.01


@pytest.mark.parametrize("job", REFERENCE, ids=lambda job: job.title)
def test_reference_peak_is_within_1_percent_as_it_is(reported: Reported, job: Job) -> None:
    """Peak against peak, with nothing explained away."""
    report = reported(job)
    assert report.memory == ()
    assert abs(report.peak_error) < 0.01


@pytest.mark.parametrize("job", REFERENCE, ids=lambda job: job.title)
def test_peak_of_the_engine_is_within_1_percent_of_the_reference(
    reported: Reported, job: Job
) -> None:
    """What a run prints, not only what issue order gives."""
    assert abs(reported(job).played_error) < 0.01


def test_dtensor_peak_is_within_5_percent_as_it_is(reported: Reported) -> None:
    """Peak against peak, without recomputation and with a plain MLP."""
    (job,) = (
        job
        for job in DTENSOR
        if (job.mlp, job.recompute, job.option("sequence_parallel")) == ("plain", "none", False)
    )
    assert abs(reported(job).peak_error) < 0.05


@pytest.mark.parametrize("job", REFERENCE, ids=lambda job: job.title)
def test_timelines_pass_the_same_moments(reported: Reported, job: Job) -> None:
    """Cumulative flops are a clock for both: nearly all of the simulator's readings are torch's."""
    report = reported(job)
    readings = {moment.flops for moment in report.simulated.timeline}
    assert len(report.gaps) > 0.8 * len(readings)


def test_an_op_left_out_is_found(reported: Reported) -> None:
    """The comparison can fail: one message or one layer fewer does not go unseen."""
    report = reported(REFERENCE[0])
    poorer = replace(report.simulated, calls=report.simulated.calls[1:])
    assert replace(report, simulated=poorer).unexplained_messages
    less = simulate(replace(report.job, layers=1))
    assert replace(report, simulated=less).flops_error < 0


def test_collective_lives_until_something_needs_it() -> None:
    """With lookahead, gathered K and V of one turn are there while another turn attends."""
    ahead, plain = (simulate(job) for job in (REFERENCE[1], REFERENCE[3]))
    assert ahead.messages == plain.messages
    gathered = 2 * REFERENCE[1].sequence * REFERENCE[1].hidden // 8 * 2
    assert ahead.peak - plain.peak >= gathered


def test_between_common_readings_the_larger_bytes_count() -> None:
    """Readings that one side lacks belong to the stretch that they lie in."""
    one = [Moment(0, 5), Moment(10, 7), Moment(15, 9), Moment(20, 4)]
    other = [Moment(0, 6), Moment(10, 6), Moment(20, 3), Moment(20, 8)]
    assert milestones(one, other) == [(0, 5, 6), (10, 9, 6), (20, 4, 8)]


def test_numbers_and_jobs_survive_json() -> None:
    """What travels between the processes comes back as it was."""
    numbers = Numbers(3, (Call("shift", 8),), {"weight": 2}, (Moment(0, 2), Moment(3, 4)))
    assert Numbers.from_dict(numbers.to_dict()) == numbers
    assert (numbers.count("shift"), numbers.bytes("shift"), numbers.peak) == (1, 8, 4)
    assert all(Job.from_dict(job.to_dict()) == job for job in EVERY)


def test_impossible_split_is_told() -> None:
    """A degree that does not divide the heads is the user's mistake, not a crash."""
    with pytest.raises(ScenarioError, match="does not divide"):
        simulate(replace(REFERENCE[0], heads=30, kv_heads=30))


def test_missing_torch_is_told_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says what to install."""
    monkeypatch.setattr(ask.importlib.util, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"pip install '\.\[calibrate\]'"):
        ask.ask(REFERENCE)


def test_torch_that_fails_is_told_with_its_last_words() -> None:
    """A job that torch cannot run ends in a message, not in a hang."""
    with pytest.raises(UserError, match="torch failed"):
        ask.ask([replace(SMALL_REFERENCE[0], dtype="int8")])  # type: ignore[arg-type]


def test_pictures_of_the_page_are_those_that_are_drawn() -> None:
    """Each is named in docs/oracles.md, and there is no other."""
    drawn = {f"{name}.png" for name in PICTURES.values()}
    assert {path.name for path in (DOCS / "oracles").iterdir()} == drawn
    page = (DOCS / "oracles.md").read_text(encoding="utf-8")
    assert all(f"(oracles/{name})" in page for name in drawn)


def test_table_and_picture_say_the_gap(reported: Reported, tmp_path: Path) -> None:
    """One line per job, as the page of documents shows it; the picture is a picture."""
    reports = [reported(job) for job in FULL]
    lines = table(reports).splitlines()
    assert len(lines) == len(reports) + 2
    assert "**" not in table(reports)
    assert f"{reports[0].peak_error:+.2%}" in lines[2]
    assert table(reports) in (DOCS / "oracles.md").read_text(encoding="utf-8"), (
        "docs/oracles.md is out of date: python docs/refresh.py oracles"
    )
    draw(reports[0], tmp_path / "memory.png")
    assert (tmp_path / "memory.png").read_bytes().startswith(b"\x89PNG")
