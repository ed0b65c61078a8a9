"""What a sweep has stored survives kills, interrupts and dying workers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import tspsim
from tspsim.cli.app import app
from tspsim.files.errors import OutputError
from tspsim.sweeps import crew, run, work
from tspsim.sweeps import study as studies
from tspsim.sweeps.points import points
from tspsim.sweeps.store import FILE, Row, Store
from tspsim.sweeps.stored import differences

ROOT = Path(__file__).parent.parent
SCENARIO: dict[str, Any] = {
    "name": "stored",
    "model": {"hidden": 256, "layers": 16, "heads": 8, "kv_heads": 4, "ffn": 512, "vocab": 0},
    "workload": {"sequence": 1024, "recompute": "full"},
    "topology": {
        "kind": "ring", "ranks": 4, "device": "h100-sxm",
        "link": {"bandwidth": "50 GB/s", "latency": "1 us"},
    },
    "strategy": {"kind": "tsp", "degree": 4},
}  # fmt: skip
AXES = (
    "workload.sequence=1024,1001,2048", "strategy.kind=tsp,tp,tp_sp",
    "link.bandwidth=log(x0.1, x10, 6)", "device.memory=10 MiB,80 GiB",
)  # fmt: skip
COUNT = 3 * 3 * 6 * 2


def call(*arguments: str) -> Result:
    """Run the command in this process."""
    return CliRunner().invoke(app, list(arguments))


@pytest.fixture
def scenario(tmp_path: Path) -> str:
    """Return a scenario whose points take some ten milliseconds each."""
    path = tmp_path / "stored.yaml"
    path.write_text(json.dumps(SCENARIO))
    return str(path)


def _start(scenario: str, out: Path, most: int = COUNT) -> subprocess.Popen[bytes]:
    """Start a sweep in a session of its own, which waits to be ended once it has so many rows."""
    words = ["sweep", scenario, *AXES, "-o", str(out), "--jobs", "2"]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.held", str(most), *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def _stored(out: Path) -> int:
    try:
        return len(Store.open(out))
    except (OutputError, sqlite3.Error):
        return 0


def _wait_for(out: Path, rows: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a sweep has stored some rows; it must not have ended before."""
    until = time.monotonic() + 60
    while _stored(out) < rows:
        assert process.poll() is None, process.stderr and process.stderr.read()
        assert time.monotonic() < until
        time.sleep(0.01)


def _gone(group: int) -> bool:
    """Say whether no process of a group is left, after some time to go."""
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.02)
    return False


def test_killed_twice_and_resumed_gives_the_table_of_an_undisturbed_run(
    scenario: str, tmp_path: Path
) -> None:
    """``kill -9`` at a tenth and at a third: row for row the same, and no worker stays."""
    whole = tspsim.sweep(scenario, *AXES)
    out = tmp_path / "killed"
    for rows in (COUNT // 10, COUNT // 3):
        process = _start(scenario, out, rows)
        _wait_for(out, rows, process)
        process.kill()
        process.wait()
        assert _gone(process.pid)
        assert rows <= _stored(out) < COUNT
        assert process.stderr is not None
        process.stderr.close()
    process = _start(scenario, out)
    _, told = process.communicate(timeout=120)
    assert process.returncode == 0, told
    assert list(Store.open(out).rows()) == whole.rows
    assert Store.open(out).statuses() == {"invalid": 24, "ok": 42, "unfit": 42}


def test_what_is_stored_is_not_run_again(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run of the same command finds everything done and starts nobody."""
    axes = ("workload.sequence=1024,2048", "-o", str(tmp_path / "out"))
    assert call("sweep", scenario, *axes, "--jobs", "1").exit_code == 0

    def nobody(*_: Any) -> Any:
        raise AssertionError("started")

    monkeypatch.setattr(crew, "crew", nobody)
    again = call("sweep", scenario, *axes)
    assert (again.exit_code, again.stderr) == (0, f"{tmp_path / 'out'}: 2 of 2 points: 2 ok\n")


def test_an_interrupt_ends_with_130_and_what_is_stored_stays(scenario: str, tmp_path: Path) -> None:
    """Ctrl-C reaches the whole group; the message says how to go on, and no process stays."""
    out = tmp_path / "out"
    process = _start(scenario, out, 10)
    _wait_for(out, 10, process)
    os.killpg(process.pid, signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    rows = _stored(out)
    assert 10 <= rows < COUNT
    first, second = told.decode().splitlines()
    assert first == (
        f"{out}: {rows} of {COUNT} points are stored; run the same command again to go on"
    )
    assert second == "interrupted"
    assert _gone(process.pid)


def test_two_sweeps_do_not_write_into_one_folder(scenario: str, tmp_path: Path) -> None:
    """The second one is refused while the first one runs."""
    study = studies.load(scenario, [studies.parse_axis("workload.sequence=1024,2048")])
    store = Store.create(tmp_path / "out", study.document(), 2, "stored")
    out = str(tmp_path / "out")
    result = call("sweep", scenario, "workload.sequence=1024,2048", "-o", out)
    assert (result.exit_code, result.stderr) == (2, f"{out}: another sweep is writing there\n")
    store.close()
    assert call("sweep", scenario, "workload.sequence=1024,2048", "-o", out).exit_code == 0


@pytest.mark.parametrize(
    ("axes", "told"),
    [
        (("workload.sequence=1024,4096",),
         "axes.workload.sequence is [1024, 2048] there and [1024, 4096] here"),
        (("workload.sequence=1024,2048", "workload.batch=2"),
         "axes.workload.batch is nothing there and [2] here"),
        (("workload.sequence=1024,2048", "--where", "workload.sequence > 0"),
         'where is [] there and ["workload.sequence > 0"] here'),
    ],
)  # fmt: skip
def test_a_store_of_another_study_is_refused(
    axes: tuple[str, ...], told: str, scenario: str, tmp_path: Path
) -> None:
    """The difference is named, and nothing is changed."""
    out = str(tmp_path / "out")
    call("sweep", scenario, "workload.sequence=1024,2048", "-o", out, "--jobs", "1")
    before = list(Store.open(out).rows())
    result = call("sweep", scenario, *axes, "-o", out)
    assert (result.exit_code, result.stderr) == (
        2, f"{out}: holds a sweep of another study: {told}; choose another folder\n"
    )  # fmt: skip
    assert list(Store.open(out).rows()) == before


def test_a_store_of_which_nothing_could_run_is_in_nobodys_way(tmp_path: Path) -> None:
    """A mistyped study's folder is for the next one, without its rows; a row that ran stays."""
    mistyped, right, other = ({"scenario": {}, "axes": {"a": [value]}} for value in (3, 4, 5))
    for study, status in ((mistyped, "invalid"), (right, "ok")):
        store = Store.create(tmp_path, study, 1, "small")
        assert not len(store)
        store.add([Row(0, {"a": 0}, status)])
        store.close()
    with pytest.raises(OutputError, match=r"another study: axes\.a is \[4\] there and \[5\] here"):
        Store.create(tmp_path, other, 1, "small")


def test_a_store_of_another_scenario_is_refused(scenario: str, tmp_path: Path) -> None:
    """Also when the change is in a file that the scenario names."""
    out = str(tmp_path / "out")
    (tmp_path / "ring.yaml").write_text(json.dumps(SCENARIO["topology"]))
    Path(scenario).write_text(json.dumps({**SCENARIO, "topology": {"file": "ring.yaml"}}))
    call("sweep", scenario, "workload.sequence=1024,2048", "-o", out, "--jobs", "1")
    (tmp_path / "ring.yaml").write_text(json.dumps({**SCENARIO["topology"], "ranks": 8}))
    result = call("sweep", scenario, "workload.sequence=1024,2048", "-o", out)
    assert result.exit_code == 2
    assert "another study: topology.ranks is 4 there and 8 here;" in result.stderr


def test_a_store_of_another_version_is_refused(scenario: str, tmp_path: Path) -> None:
    """Numbers may differ between versions; a table must not mix them."""
    out = tmp_path / "out"
    call("sweep", scenario, "workload.sequence=1024,2048", "-o", str(out), "--jobs", "1")
    with sqlite3.connect(out / FILE) as connection:
        connection.execute("UPDATE about SET value = '\"0.0.9\"' WHERE key = 'version'")
    connection.close()
    result = call("sweep", scenario, "workload.sequence=1024,2048", "-o", str(out))
    assert (result.exit_code, result.stderr) == (
        2,
        f"{out}: holds a sweep of tspsim 0.0.9, this is {tspsim.__version__}; results of two "
        "versions do not mix: choose another folder\n",
    )
    assert len(Store.open(out)) == 2  # reading it is fine


def test_other_folders_and_files_are_left_alone(scenario: str, tmp_path: Path) -> None:
    """A folder with something else, a file, and a file that is no store."""
    (tmp_path / "notes.txt").write_text("mine")
    result = call("sweep", scenario, "workload.sequence=1024", "-o", str(tmp_path))
    assert result.stderr == (
        f"{tmp_path}: holds something else (notes.txt, stored.yaml); choose an empty or a new "
        "folder\n"
    )
    result = call("sweep", scenario, "workload.sequence=1024", "-o", str(tmp_path / "notes.txt"))
    assert result.stderr == f"{tmp_path / 'notes.txt'}: is a file; a sweep needs a folder\n"
    broken = tmp_path / "broken"
    broken.mkdir()
    (broken / FILE).write_text("no database, but long enough to be looked at as one" * 20)
    for command in (("export",), ("sweep", scenario, "workload.sequence=1024", "-o")):
        result = call(*command, str(broken))
        assert result.exit_code == 2
        assert "cannot be used as a sweep's store: file is not a database" in result.stderr


def test_a_full_disk_is_told_and_what_is_stored_stays(
    scenario: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite is given no further page; with room again the sweep goes on to the same table."""
    out = tmp_path / "out"
    create = Store.create.__func__  # type: ignore[attr-defined]

    def small(cls: type[Store], *args: Any) -> Store:
        store: Store = create(cls, *args)
        store._connection.execute("PRAGMA max_page_count = 12")
        return store

    monkeypatch.setattr(Store, "create", classmethod(small))
    result = call("sweep", scenario, *AXES[:3], "-o", str(out), "--jobs", "1")
    assert (result.exit_code, result.stderr) == (
        2,
        f"{out}: the disk is full; what is stored stays: make room and run the same command "
        "again\n",
    )
    stored = _stored(out)
    assert 0 < stored < 54
    monkeypatch.undo()
    result = call("sweep", scenario, *AXES[:3], "-o", str(out), "--jobs", "1")
    assert result.exit_code == 0
    assert list(Store.open(out).rows()) == tspsim.sweep(scenario, *AXES[:3]).rows


# Workers that die ------------------------------------------------------------


def _deadly(batch: Any, version: str) -> Any:
    """Die as a process does that the system kills for its memory, at one point of the study."""
    if any(document["workload"]["sequence"] == 2048 for _, document in batch):
        os.kill(os.getpid(), signal.SIGKILL)
    return work.play(batch, version)


def test_a_point_that_kills_its_process_is_a_row_and_the_others_run(
    scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process is started again; points that were beside the deadly one are not blamed."""
    monkeypatch.setattr(crew, "play", _deadly)
    axes = [
        studies.parse_axis(a)
        for a in ("workload.sequence=512,1024,2048,4096", "link.bandwidth=x1,x2")
    ]
    study = studies.load(scenario, axes)
    found = points(study)
    store = Store.create(None, study.document(), len(found), "stored")
    run.drive(study, found, store, lambda: crew.Local(2))
    for row in store.rows():
        if row.axes["workload.sequence"] == 2048:
            assert (row.status, row.hash) == ("failed", "")
            assert row.reason == "the process that ran it died (BrokenProcessPool)"
        else:
            assert row.status == "ok"
    assert len(store) == 8


@pytest.mark.parametrize(("seconds", "largest"), [(0.1, 5), (0.02, 25), (1e-6, 64), (3.0, 1)])
def test_batches_take_as_long_as_a_crew_wants(seconds: float, largest: int, scenario: str) -> None:
    """The first batch is one point, and none has more than 64: what a dying worker loses."""
    sizes: list[int] = []

    class Paced(crew.Alone):
        """Says that every point took as long."""

        def submit(self, batch: crew.Batch) -> Future[work.Report]:
            sizes.append(len(batch))
            future: Future[work.Report] = Future()
            outcomes = tuple(work.Outcome(point, "ok") for point, _ in batch)
            future.set_result(work.Report(outcomes, seconds * len(batch)))
            return future

    axes = [studies.parse_axis("link.bandwidth=log(x0.1, x10, 300)")]
    study = studies.load(scenario, axes)
    found = points(study)
    store = Store.create(None, study.document(), len(found), "stored")
    told: list[tuple[int, int]] = []
    run.drive(study, found, store, Paced, lambda *done: told.append(done))
    assert sizes[0] == 1
    assert max(sizes) == largest
    assert sum(sizes) == 300
    assert told[0] == (0, 300)
    assert told[-1] == (300, 300)
    assert [row.id for row in store.rows()] == list(range(300))


# Reading ---------------------------------------------------------------------


def test_a_store_says_what_its_axes_are(scenario: str) -> None:
    """Values in the order of the study, with their unit; words have none."""
    store = tspsim.sweep(
        scenario, "topology.link.bandwidth=10 GB/s,1 TB/s", "strategy.kind=tp,tsp",
        "workload.sequence=1024,2048", "device.flop_rate=x1,x2",
    ).store  # fmt: skip
    told = {info.key: (info.values, info.unit, info.numeric) for info in store.axes}
    assert told == {
        "topology.link.bandwidth": (("10 GB/s", "1 TB/s"), "B/s", True),
        "strategy.kind": (("tp", "tsp"), "", False),
        "workload.sequence": ((1024, 2048), "", True),
        "device.flop_rate": (("x1", "x2"), "x", True),
    }
    row = next(store.rows())
    assert row.number("topology.link.bandwidth") == 1e10
    assert row.cell("strategy.kind") == "tp"
    assert row.cell("step_time") == row.figures["step_time"]
    assert row.cell("no such column") is None
    assert (store.name, store.count, len(store)) == ("stored", 16, 16)


#: Of a row that ran.
FIGURES = {
    "mesh": "tp 2", "fits": True, "mfu": None, "hfu": None, "step_time": 0.1 + 0.2,
    "tokens_per_second": 1.0, "tokens_per_second_per_device": 0.5, "time.compute": 1,
    "time.exposed_communication": 0.0, "time.idle": 0.0, "memory.capacity": 9, "memory.peak": 8,
    "communication.received_bytes_per_rank": 7, "communication.by_op.all_reduce": 7,
}  # fmt: skip


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    """Floats keep their last bit; a batch is stored whole or not at all."""
    study = {"axes": {"a": [1, 2]}, "scenario": {}}
    store = Store.create(tmp_path / "out", study, 2, "x")
    rows = [
        Row(1, {"a": {"kind": "tp"}}, "ok", "", "00", FIGURES),
        Row(0, {"a": "ü"}, "failed", "why\nnot"),
    ]
    store.add(rows)
    with pytest.raises(sqlite3.ProgrammingError):
        store._connection.execute("SELECT ?", ())
    broken = Row(3, {"a": 1}, "ok", "", None)  # type: ignore[arg-type]
    with pytest.raises(OutputError, match="NOT NULL"):
        store.add([Row(2, {"a": 1}, "ok"), broken])
    assert list(Store.open(tmp_path / "out").rows()) == rows[::-1]
    store.close()


def test_differences_are_named_by_their_path() -> None:
    """The first few, and how many more there are."""
    there = {"scenario": {"a": {"b": 1, "c": [1]}}, "axes": {str(i): i for i in range(9)}}
    here = {"scenario": {"a": {"b": 2, "c": [1]}}, "axes": {str(i): i + 1 for i in range(9)}}
    assert differences(there, here) == [
        "a.b is 1 there and 2 here", "axes.0 is 0 there and 1 here",
        "axes.1 is 1 there and 2 here", "axes.2 is 2 there and 3 here", "and 6 more",
    ]  # fmt: skip
    assert differences(there, there) == []
