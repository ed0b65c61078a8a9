"""Jobs that fail: against a literal simulation, step by step, and against Young and Daly."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simpy
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from typer.testing import CliRunner, Result

from tests.test_disturbances import JITTER, SMALL
from tspsim.cli.app import app
from tspsim.engine.jobs.checkpointing import daly, efficiency, first_order, young
from tspsim.engine.jobs.goodput import Job, Spent, failure_times, play_job
from tspsim.files.errors import UserError
from tspsim.runs.goodput import STEPS, Goodput, goodput
from tspsim.runs.seeds import repeat
from tspsim.scenario import from_document

DAY, HOUR = 86400.0, 3600.0


class Literal:
    """The same job as a SimPy process that plays every step and every checkpoint."""

    def __init__(self, job: Job, steps: int, failures: list[float], horizon: float) -> None:
        self.job, self.steps, self.spent = job, steps, Spent()
        self.environment = simpy.Environment()
        self.since, self.kept, self.work, self.saved = 0.0, 0.0, 0.0, 0.0
        self.state = "work"
        self.ends: list[float] = []  # when phases end, or would have
        process = self.environment.process(self.life())
        self.environment.process(self.strike(process, failures))
        self.environment.run(until=horizon)
        self.cut()

    def life(self) -> Iterator[Any]:
        """Work, write checkpoints, and start again after a failure."""
        while True:
            try:
                for _ in range(self.steps):
                    yield from self.phase("work", self.job.interval / self.steps)
                yield from self.phase("checkpoint", self.job.checkpoint)
                self.spent.useful += self.work
                self.spent.checkpoints += self.saved
                self.work = self.saved = 0.0
            except simpy.Interrupt:
                yield from self.recover()

    def recover(self) -> Iterator[Any]:
        """Lose what was not saved, then restart until no failure hits the restart."""
        while True:
            self.add()
            self.spent.lost += self.work + self.saved
            self.work = self.saved = 0.0
            self.spent.failures += 1
            try:
                yield from self.phase("restart", self.job.restart)
            except simpy.Interrupt:
                continue
            return

    def phase(self, state: str, seconds: float) -> Iterator[Any]:
        """Spend time on one thing."""
        self.state, self.since = state, self.environment.now
        self.ends.append(self.since + seconds)
        yield self.environment.timeout(seconds)
        self.add()

    def add(self) -> None:
        """Count the time since the phase began."""
        passed, self.since = self.environment.now - self.since, self.environment.now
        if self.state == "work":
            self.work += passed
        elif self.state == "checkpoint":
            self.saved += passed
        else:
            self.spent.restarts += passed

    def cut(self) -> None:
        """End at the horizon: what is under way was not undone."""
        self.add()
        self.spent.useful += self.work
        self.spent.checkpoints += self.saved

    def strike(self, process: simpy.Process, failures: list[float]) -> Iterator[Any]:
        """Interrupt the job at every failure."""
        for at in failures:
            yield self.environment.timeout(at - self.environment.now)
            process.interrupt()


@given(
    steps=st.integers(1, 5),
    step=st.floats(0.1, 3),
    checkpoint=st.floats(0.05, 2),
    restart=st.floats(0.05, 5),
    gaps=st.lists(st.floats(0.01, 20), max_size=12),
    horizon=st.floats(1, 100),
)
def test_a_job_goes_as_its_steps_do_one_by_one(
    steps, step, checkpoint, restart, gaps, horizon
) -> None:
    """From failure to failure, or event by event: the same time goes to the same places."""
    failures = [float(at) for at in np.cumsum(gaps) if at < horizon * (1 - 1e-9)]
    job = Job(steps * step, checkpoint, restart)
    literal = Literal(job, steps, failures, horizon)
    # A failure at the very end of a checkpoint may fall on either side of it: it never does.
    assume(all(abs(at - end) > 1e-6 for at in failures for end in literal.ends))
    found, told = play_job(job, failures, horizon), literal.spent
    close = 1e-9 * horizon
    for name in ("useful", "checkpoints", "lost", "restarts", "failures"):
        assert getattr(found, name) == pytest.approx(getattr(told, name), abs=close), name


@given(
    interval=st.floats(0.1, 50),
    checkpoint=st.floats(0, 10),
    restart=st.floats(0, 50),
    failures=st.lists(st.floats(0, 1000), max_size=40),
    horizon=st.floats(1, 1000),
)
def test_the_parts_of_a_job_add_up_to_its_time(
    interval, checkpoint, restart, failures, horizon
) -> None:
    """Nothing is counted twice, nothing is forgotten, nothing is negative."""
    spent = play_job(Job(interval, checkpoint, restart), sorted(failures), horizon)
    parts = (spent.useful, spent.checkpoints, spent.lost, spent.restarts)
    assert sum(parts) == pytest.approx(horizon, rel=1e-9)
    assert min(parts) >= 0


def test_one_failure_by_hand() -> None:
    """Rounds of 10 + 2 s; a failure at 40 s, 4 s into the fourth round; 5 s of restart."""
    spent = play_job(Job(10, 2, 5), [40.0], 60.0)
    # from 45 s on: 10 s of work, 2 s of checkpoint, 3 s of work
    assert spent == Spent(useful=43, checkpoints=8, lost=4, restarts=5, failures=1)


def test_a_failure_during_a_restart_begins_it_anew() -> None:
    """Down at 10 s, again at 12 s: back at 17 s."""
    spent = play_job(Job(100, 1, 5), [10.0, 12.0], 20.0)
    assert spent == Spent(useful=3, checkpoints=0, lost=10, restarts=7, failures=2)


@pytest.mark.parametrize(
    ("interval", "checkpoint", "restart", "mtbf"),
    [(1.0, 0.1, 0.2, 5.0), (0.5, 0.2, 1.0, 2.0), (3.0, 0.5, 0.0, 1.5)],
)
def test_a_long_job_has_the_goodput_of_daly(interval, checkpoint, restart, mtbf) -> None:
    """The closed form is exact for exponential failures: within four standard errors of it."""
    job, horizon = Job(interval, checkpoint, restart), 4000 * mtbf
    found = [
        play_job(job, failure_times(1 / mtbf, horizon, 1, run).tolist(), horizon).useful / horizon
        for run in range(30)
    ]
    error = np.std(found, ddof=1) / math.sqrt(len(found))
    exact = efficiency(interval, checkpoint, restart, mtbf)
    assert abs(np.mean(found) - exact) < 4 * error
    assert error < 0.01 * exact


def test_the_error_falls_with_the_root_of_the_number_of_jobs() -> None:
    """The law of large numbers: the mean of 16 times as many jobs is about 4 times as sure."""
    job, horizon = Job(1.0, 0.1, 0.2), 50.0
    exact = efficiency(1.0, 0.1, 0.2, 5.0)
    found = np.array(
        [
            play_job(job, failure_times(0.2, horizon, 2, run).tolist(), horizon).useful / horizon
            for run in range(1600)
        ]
    )
    few, many = found.reshape(100, 16).mean(axis=1), found.reshape(100, 16)
    assert np.std(many) / np.std(few) == pytest.approx(4, rel=0.25)
    assert abs(found.mean() - exact) < 0.02 * exact  # a job of ten failures has edges


@given(checkpoint=st.floats(1, 100), ratio=st.floats(50, 1e5), restart=st.floats(0, 300))
def test_young_is_daly_to_first_order(checkpoint, ratio, restart) -> None:
    """Where checkpoints are short against failures, the formulas and optima agree."""
    mtbf = ratio * checkpoint
    best = young(checkpoint, mtbf)
    small = (best + checkpoint + restart) / mtbf
    whole, linear = (f(best, checkpoint, restart, mtbf) for f in (efficiency, first_order))
    assert abs(whole - linear) < 1.5 * small**2 + checkpoint / best * small
    assert daly(checkpoint, mtbf) == pytest.approx(best, rel=2 / math.sqrt(ratio))


@given(ratio=st.floats(3, 1e5))
def test_daly_finds_the_best_interval(ratio) -> None:
    """Against a numerical search over the exact efficiency; Young loses more, but little."""
    found = minimize_scalar(
        lambda log: -efficiency(math.exp(log), 1.0, 0.0, ratio),
        bounds=(math.log(1e-2), math.log(10 * ratio)), method="bounded",
    )  # fmt: skip
    best = -float(found.fun)
    assert efficiency(daly(1.0, ratio), 1.0, 0.0, ratio) > best * (1 - 2e-3)
    assert efficiency(young(1.0, ratio), 1.0, 0.0, ratio) > best * (1 - 0.3 / ratio - 1e-9)


def test_failures_come_at_exponential_distances() -> None:
    """As many as the rate says, with the variance of a Poisson process, in order."""
    counts = np.array([len(failure_times(0.1, 1000, 3, run)) for run in range(400)])
    assert abs(counts.mean() - 100) < 4 * math.sqrt(100 / 400)
    assert counts.var(ddof=1) == pytest.approx(100, rel=0.3)
    times = failure_times(0.1, 1000, 3)
    assert np.all(np.diff(times) >= 0)
    assert times.max() < 1000


def test_the_luck_of_a_job_does_not_depend_on_its_length_or_rate() -> None:
    """A longer job sees the same first failures; half the rate puts them twice as far apart."""
    short, long = (failure_times(0.1, horizon, 4, 2) for horizon in (100, 10_000))
    assert short.tolist() == long[: len(short)].tolist()
    half = failure_times(0.05, 10_000, 4, 2)
    assert half == pytest.approx(2 * long[: len(half)])
    assert failure_times(0, 10, 4, stated=[7.0, 3.0, 11.0]).tolist() == [3.0, 7.0]


# The whole question

JOB: dict[str, Any] = {
    "mtbf": "400 h", "horizon": "30 d", "restart": "10 min", "checkpoint": {"time": "60 s"},
}  # fmt: skip


def asked(runs: int = 50, **changes: Any) -> Goodput:
    """Return the goodput of the small scenario."""
    disturbances = {"reliability": JOB, **changes}
    return goodput(from_document({**SMALL, "disturbances": disturbances}), runs)


def test_a_job_of_a_scenario_agrees_with_the_closed_form() -> None:
    """Four devices of 400 h each fail every 100 h; the interval is Daly's."""
    found = asked(200)
    assert found.system_mtbf == 100 * HOUR
    assert found.interval == pytest.approx(daly(60, 100 * HOUR), rel=1e-3)
    assert found.closed_form == efficiency(found.interval, 60, 600, 100 * HOUR)
    assert found.goodput.mean == pytest.approx(found.closed_form, abs=5e-4)
    assert found.failures == pytest.approx(30 * DAY / (100 * HOUR), rel=0.15)
    spent = found.time
    total = spent.useful + spent.checkpoints + spent.lost + spent.restarts
    assert total == pytest.approx(30 * DAY)
    assert spent.useful / (30 * DAY) == pytest.approx(found.goodput.mean)


def test_the_best_interval_by_simulation_lies_around_youngs() -> None:
    """Its own 95 % interval holds Young's and Daly's, to the distance of two tries."""
    best = asked(200).best
    assert best is not None
    assert best.young == math.sqrt(2 * 60 * 100 * HOUR)
    step = math.sqrt(2)
    assert best.low / step <= best.young <= best.high * step
    assert best.low <= best.simulated <= best.high
    goodputs = [tried.goodput.mean for tried in best.tried]
    assert best.simulated == best.tried[int(np.argmax(goodputs))].interval
    for tried in best.tried:
        assert tried.goodput.mean == pytest.approx(tried.closed_form, abs=2e-3)


def test_a_checkpoint_holds_weights_and_optimizer_states() -> None:
    """2 + 12 bytes per parameter on every rank's shard, at the rate that is stated."""
    changed = {**JOB, "checkpoint": {"bandwidth": "1 GB/s", "interval": "1 h"}}
    found = asked(reliability=changed)
    memory = repeat(from_document(SMALL | {"workload": {"sequence": 512}}), 1).memory
    held = sum(memory.ranks[0].at_peak[kind] for kind in ("weight", "optimizer"))
    assert held > 0
    train = {**SMALL, "workload": {"sequence": 512}, "disturbances": {"reliability": changed}}
    written = goodput(from_document(train), 2)
    assert written.checkpoint_bytes == held
    assert written.checkpoint_time == held / 1e9
    assert found.interval == pytest.approx(HOUR, rel=1e-3)
    stated = {**changed, "checkpoint": {**changed["checkpoint"], "bytes": "3 GB"}}
    assert asked(reliability=stated).checkpoint_time == 3.0


def test_stated_failures_alone_need_one_job() -> None:
    """Nothing is drawn: one run, by hand, no best interval, no closed form."""
    job = {"horizon": "10 h", "restart": "30 min", "checkpoint": {"time": "0 s", "interval": "1 h"}}
    failures = [{"device": 3, "at": "435 min"}, {"device": 1, "at": "150 min"}]
    found = asked(reliability=job, failures=failures)
    assert (found.goodput.runs, found.failures, found.best, found.closed_form) == (1, 2, None, None)
    # half an hour lost at 2:30; back at 3:00, four hours kept and a quarter lost; back at 7:45
    assert found.time.lost == pytest.approx(0.75 * HOUR, rel=1e-6)
    assert found.time.restarts == HOUR
    assert found.goodput.mean == pytest.approx(0.825, rel=1e-6)


def test_jitter_counts_by_its_mean() -> None:
    """The step time of a job is the mean of several steps, not the luck of one."""
    found = asked(2, jitter=JITTER)
    disturbed = from_document({**SMALL, "disturbances": {"jitter": JITTER}})
    assert found.steps == STEPS
    assert found.step_time == repeat(disturbed, STEPS).summary.step_times.mean


def test_a_scenario_without_figures_is_refused() -> None:
    """It says what is missing."""
    with pytest.raises(UserError, match="'small' does not say how often devices fail"):
        goodput(from_document(SMALL))


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


def test_the_command_prints_a_table_or_json(tmp_path: Path) -> None:
    """Both say the same; the same seed says it again."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({**SMALL, "disturbances": {"reliability": JOB}}))
    shown = call("goodput", str(path), "--runs", "20")
    assert (shown.exit_code, shown.stderr) == (0, "")
    assert max(map(len, shown.stdout.splitlines())) <= 80
    text = call("goodput", str(path), "--runs", "20", "--json").stdout
    assert text == call("goodput", str(path), "--runs", "20", "--json").stdout
    found = json.loads(text)
    assert found["runs"] == 20
    assert f"{100 * found['goodput']['mean']:.2f} %" in shown.stdout
    assert sum(found["time"].values()) == pytest.approx(found["horizon"])
    low, high = found["goodput"]["confidence_95"]
    assert low < found["goodput"]["mean"] < high
    assert found["best_interval"].keys() == {"young", "daly", "simulated", "low", "high", "tried"}
    useful = found["useful_steps_per_second"] * found["step_time"]
    assert useful == pytest.approx(found["goodput"]["mean"])


def test_the_interval_of_a_fraction_stays_a_fraction() -> None:
    """Three jobs say little, but not that more than all of the time may be useful."""
    found = asked(3, reliability={**JOB, "mtbf": "30 d", "restart": "2 d"}).goodput
    assert found.standard_deviation > 0
    assert 0 <= found.low < found.mean < found.high <= 1


def test_the_picture_is_drawn_and_only_where_there_is_something_to_draw(tmp_path: Path) -> None:
    """Points, curve and names are in it; stated failures alone, or another suffix, are told."""
    path = tmp_path / "small.yaml"
    path.write_text(json.dumps({**SMALL, "disturbances": {"reliability": JOB}}))
    picture = tmp_path / "goodput.svg"
    assert call("goodput", str(path), "--runs", "5", "-o", str(picture)).exit_code == 0
    drawn = picture.read_text()
    assert "small: 4 devices, one fails every 4.17 d" in drawn
    assert "mean of 5 jobs" in drawn
    for target, override, message in (
        ("x.txt", "disturbances.seed=1", "pictures are .png"),
        ("x.png", f"disturbances={STATED}", "nothing to draw: without an 'mtbf'"),
    ):
        refused = call("goodput", str(path), override, "-o", str(tmp_path / target))
        assert refused.exit_code == 2
        assert message in refused.stderr
        assert not (tmp_path / target).exists()


STATED = (
    "{failures: [{device: 0, at: 1 h}], reliability: "
    "{horizon: 1 d, restart: 1 min, checkpoint: {time: 1 s, interval: 1 h}}}"
)
