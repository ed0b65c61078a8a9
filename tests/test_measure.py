"""Measuring: what is in the grid, how rows are kept, and what happens when a rank fails."""

import json
import os
import subprocess
from collections import Counter
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.kineto import TSP, check_collectives
from tspsim.calibrate import rows as raw
from tspsim.calibrate.measure import grid, links, machine, supervise
from tspsim.calibrate.measure.grid import Point
from tspsim.calibrate.measure.run import Setup, measure
from tspsim.calibrate.rows import CalibrationError, Machine, Row
from tspsim.cli.app import app
from tspsim.files.errors import UserError
from tspsim.reports.beside import compare_trace

MACHINE = Machine("a processor", 2, 2**34, "Linux 6", {"torch": "2.13.0"}, "gloo", "loopback", None)
ADD = {"op": "add", "ranks": 2, "flops": 0, "bytes": 48}
NORM = ADD | {"op": "norm"}
ROW = Row("op", ADD, "fit", (0.25, 0.125), load=0.5, clock=None, at=1.0)


# ---- the grid ------------------------------------------------------------------------------------


@pytest.mark.parametrize("quick", [True, False])
def test_the_grid_names_every_case_once_and_holds_out_some_of_each_kind(quick: bool) -> None:
    """Points have names of their own; every kind has fitted and held-out rows."""
    points = grid.points((2, 4), 2, quick=quick)
    assert len({point.key for point in points}) == len(points)
    names = Counter(
        (point.case.get("op") or point.case.get("collective"), point.ranks, point.use)
        for point in points
        if point.kind in ("op", "collective") and point.case.get("op") not in grid.MOVED
    )
    for name, ranks, _ in list(names):
        assert names[name, ranks, "fit"]
        assert names[name, ranks, "held_out"]


def test_no_block_is_ever_fitted_to() -> None:
    """Blocks are there to tell the error, whatever their strategy."""
    blocks = [p for p in grid.points((2, 4), 2, quick=False) if p.kind == "block"]
    assert {p.use for p in blocks} == {"held_out"}
    assert {p.case["strategy"]["kind"] for p in blocks} == {"tsp", "tp", "sp", "tp_sp"}


def test_a_quick_grid_is_much_smaller() -> None:
    """Quick means fewer points and fewer repeats."""
    quick, full = (grid.points((2, 4), 2, quick=q) for q in (True, False))
    assert sum(p.repeats for p in quick) < sum(p.repeats for p in full) / 2


def test_messages_divide_over_ranks() -> None:
    """What is scattered or gathered has a whole number of elements on every rank."""
    for point in grid.points((2, 3, 4, 6, 8), 2, quick=False):
        if point.kind == "collective":
            assert point.case["bytes"] % (4 * point.ranks) == 0


# ---- rows ----------------------------------------------------------------------------------------


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Writing and reading changes nothing."""
    raw.write_machine(tmp_path, MACHINE)
    raw.append(tmp_path, [ROW, replace(ROW, case=NORM, timeline=[[["c", "mm", 0.0, 1.0]]])])
    found = raw.read(tmp_path)
    assert found.machine == MACHINE
    assert found.rows[0] == ROW
    assert found.rows[1].timeline == [[["c", "mm", 0.0, 1.0]]]
    assert found.rows[0].median == 0.1875


def test_a_line_that_was_cut_off_is_dropped_and_mended(tmp_path: Path) -> None:
    """A run that was killed while it wrote a row is taken up with that row missing."""
    raw.write_machine(tmp_path, MACHINE)
    raw.append(tmp_path, [ROW])
    path = tmp_path / "rows.jsonl"
    path.write_text(path.read_text() + '{"kind": "op", "ca')
    assert raw.read(tmp_path).rows == (ROW,)
    raw.append(tmp_path, [replace(ROW, case=NORM)])
    assert len(raw.read(tmp_path).rows) == 2


def test_rows_of_another_machine_are_refused_with_the_difference_named(tmp_path: Path) -> None:
    """It says what differs, and changes nothing."""
    raw.write_machine(tmp_path, MACHINE)
    raw.append(tmp_path, [ROW])
    with pytest.raises(CalibrationError, match="cores: 2 there, 64 here"):
        raw.write_machine(tmp_path, replace(MACHINE, cores=64))
    assert raw.read_machine(tmp_path) == MACHINE


def test_rows_of_another_version_are_refused(tmp_path: Path) -> None:
    """Both versions are named."""
    raw.write_machine(tmp_path, MACHINE)
    path = tmp_path / "machine.json"
    path.write_text(path.read_text().replace('"version": 1', '"version": 7'))
    with pytest.raises(CalibrationError, match=r"version 7; this tspsim reads version 1"):
        raw.read(tmp_path)


def test_a_machine_without_rows_does_not_hold_its_folder(tmp_path: Path) -> None:
    """A run that was refused before it measured anything is in nobody's way."""
    raw.write_machine(tmp_path, MACHINE)
    raw.write_machine(tmp_path, replace(MACHINE, rate=1e9))
    assert raw.read_machine(tmp_path).rate == 1e9


def test_a_refused_measurement_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where the machine is busy its folder is not even made."""
    monkeypatch.setattr(machine, "describe", lambda *_: MACHINE)
    monkeypatch.setattr(machine, "busy_share", lambda: 0.5)
    monkeypatch.setattr("tspsim.calibrate.measure.run.PATIENCE", 0.0)
    with pytest.raises(CalibrationError, match="the machine is busy"):
        measure(Setup(tmp_path / "rows", (2,), throttled=False), None, [SHIFT])
    assert not (tmp_path / "rows").exists()


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{}", "it has no version"),
        ("[]", "it has no version"),
        ("{", "machine.json:1:2: not valid JSON"),
        ('{"version": 1}', "device: missing"),
        ({"cores": "two"}, "cores: found 'two'; must be an integer"),
        ({"device": "a\x1b[31m"}, "device: holds control character U+001B"),
        ({"rate": float("nan")}, "NaN is not a finite number"),
    ],
)
def test_a_foreign_machine_is_told(
    tmp_path: Path, document: str | dict[str, object], said: str
) -> None:
    """What `measure` did not write is refused with its place."""
    whole = {"version": 1} | asdict(MACHINE)
    told = document if isinstance(document, str) else json.dumps(whole | document)
    (tmp_path / "machine.json").write_text(told)
    with pytest.raises(UserError) as caught:
        raw.read(tmp_path)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "line",
    [
        "{}", "[1]", "nothing", '{"kind": "op", "seconds": []}', "[" * 100_000,
        raw.text(replace(ROW, case={"op": "add"})), raw.text(replace(ROW, case={"op": {}})),
        raw.text(replace(ROW, case=ADD | {"bytes": "48"})),
        raw.text(replace(ROW, kind="collective")), raw.text(replace(ROW, kind="block")),
        raw.text(replace(ROW, timeline=[[["c", "mm", "0", 1.0]]])),
        raw.text(replace(ROW, seconds=(-1.0,))), raw.text(ROW).replace("0.25", "NaN"),
    ],
)  # fmt: skip
def test_a_line_that_is_no_row_is_told_with_its_place(tmp_path: Path, line: str) -> None:
    """File and line are named."""
    raw.write_machine(tmp_path, MACHINE)
    (tmp_path / "rows.jsonl").write_text(f"{raw.text(ROW)}\n{line}\n")
    with pytest.raises(UserError, match=r"rows.jsonl:2:"):
        raw.read(tmp_path)


def test_a_folder_without_rows_says_how_to_get_some(tmp_path: Path) -> None:
    """The command is named."""
    with pytest.raises(UserError, match="calibrate measure"):
        raw.read(tmp_path)


# ---- the machine ---------------------------------------------------------------------------------


def test_a_busy_machine_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The share that others take is told, and the way out."""
    monkeypatch.setattr(machine, "busy_share", lambda: 0.5)
    with pytest.raises(CalibrationError, match=r"50% of its cores.*--allow-busy"):
        machine.check_quiet()


def test_a_machine_that_becomes_quiet_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Patience ends the moment that others do."""
    shares = iter([0.9, 0.5, 0.01, 0.9])
    monkeypatch.setattr(machine, "busy_share", lambda: next(shares))
    machine.check_quiet(patience=60.0)
    assert next(shares) == 0.9


def test_what_others_use_leaves_out_what_ranks_use(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 400 ticks 100 are idle; of two cores over two seconds ranks had half."""
    monkeypatch.setattr(machine, "ticks", lambda: (1400, 600))
    monkeypatch.setattr(machine.os, "cpu_count", lambda: 2)
    assert machine.share((1000, 500), 2.0, 2.0) == pytest.approx(0.25)


def test_without_torch_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is the user's to install, so the exit code is 2."""
    monkeypatch.setattr(machine.importlib.util, "find_spec", lambda _: None)
    result = CliRunner().invoke(app, ["calibrate", "measure", "-o", str(tmp_path), "--loopback"])
    assert result.exit_code == 2
    assert "pip install '.[calibrate]'" in result.stderr


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--ranks", "2,100000", "at most 1000"),
        ("--ranks", "1,2", "at least 2"),
        ("--ranks", "two", "at least 2"),
        ("--rate", "5", "--rate"),
    ],
)
def test_options_that_make_no_sense_are_told(
    tmp_path: Path, option: str, value: str, said: str
) -> None:
    """Exit code 2, and nothing is measured."""
    arguments = ["calibrate", "measure", "-o", str(tmp_path / "x"), "--loopback", option, value]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2
    assert said in result.stderr
    assert not (tmp_path / "x").exists()


def test_every_rank_gets_a_throttled_way_out() -> None:
    """One namespace, one pair of devices and one bucket per rank, with an address of its own."""
    lines = [" ".join(command) for command in links.commands(3, 250e6)]
    buckets = [line for line in lines if " tbf " in line]
    assert len(buckets) == 3
    assert all("rate 250000000bit" in line for line in buckets)
    assert len({links.address(rank) for rank in range(1000)}) == 1000


def test_ranks_that_will_not_end_are_killed() -> None:
    """Nobody is left behind, whoever ignores the request to end."""
    stubborn = "trap '' TERM; while true; do sleep 0.1; done"
    process = subprocess.Popen(["sh", "-c", stubborn], start_new_session=True)
    supervise.stop([process])  # type: ignore[list-item]
    assert process.returncode is not None


# ---- real ranks ----------------------------------------------------------------------------------


def _point(case: dict[str, object], kind: raw.Kind = "collective") -> Point:
    return Point(2, kind, {"ranks": 2} | case, "fit", 2)


SHIFT = _point({"collective": "shift", "bytes": 768, "calls": 1})


def _setup(folder: Path, timeout: float = 60.0) -> Setup:
    return Setup(folder, (2,), throttled=False, allow_busy=True, timeout=timeout)


def test_two_ranks_measure_and_go_on_where_they_stopped(tmp_path: Path) -> None:
    """Every kind of row comes out; a second run measures only what is new."""
    pytest.importorskip("torch", reason="measuring needs tspsim[calibrate]")
    block = grid.block(128, 64, 2, {"kind": "tsp", "degree": 2}) | {"timeline": True}
    first = [SHIFT, _point(grid.matmul("nt", 8, 8, 8), "op")]
    more = [
        _point({"size": 32, "products": 1, "bytes": 2**20}, "overlap"), _point(block, "block"),
        _point(grid.attention("attention_backward", 2, 16, 16, causal=True), "op"),
        _point({"op": "norm_backward", "tokens": 8, "width": 64, "flops": 0, "bytes": 1}, "op"),
    ]  # fmt: skip
    told: list[tuple[int, int]] = []
    assert measure(_setup(tmp_path), None, first) == 2
    traced = replace(_setup(tmp_path), trace=tmp_path / "traces")
    assert measure(traced, lambda *at: told.append(at), first + more) == 4
    found = raw.read(tmp_path)
    assert [row.key for row in found.rows] == [point.key for point in first + more]
    assert all(len(row.seconds) >= 2 and min(row.seconds) > 0 for row in found.rows)
    (step,) = found.of("block")
    assert len(step.timeline) == 2
    lanes = {(lane, name) for lane, name, *_ in step.timeline[0]}
    assert ("communication", "broadcast") in lanes
    assert ("compute", "mm") in lanes
    assert told[-1] == (6, 6)
    assert found.machine.link == "loopback"
    check_traces(tmp_path / "traces")


def check_traces(folder: Path) -> None:
    """Lay the block's traces beside its simulation: the same collectives, as many bytes."""
    (block,) = folder.iterdir()
    topology = Path(__file__).parent.parent / "calibration" / "profile-2-ranks.yaml"
    found = compare_trace(block / "scenario.yaml", block, f"topology.file={topology}")
    assert "the median of steps 0 to 2" in found.step.chosen
    check_collectives(found, TSP)


def test_of_several_ranks_that_failed_all_are_told(tmp_path: Path) -> None:
    """One that dies takes the others with it: which is seen first says nothing of who began."""
    ends = [(-6, "Connection closed by peer"), (7, "died on purpose"), (None, "waits")]
    for rank, (_, words) in enumerate(ends):
        (tmp_path / f"rank{rank}.log").write_text(words)
    running: Any = [SimpleNamespace(poll=lambda c=code: c, returncode=code) for code, _ in ends]
    assert supervise._story(tmp_path, running) == (
        "rank 0 was ended by signal 6, rank 1 ended with exit code 7; the others were stopped. "
        "Connection closed by peer | died on purpose"
    )


@pytest.mark.parametrize(
    ("met", "told"),
    [(False, "the ranks did not meet for 0.3 s"), (True, "nothing was measured for 0.1 s")],
)
def test_starting_has_more_time_than_a_row(
    met: bool, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    """A small ``--timeout`` must not end ranks that are still importing on a busy machine."""
    monkeypatch.setattr(supervise, "MEETING", 0.3)
    if met:
        (tmp_path / supervise.MET).touch()
    job = {"out": str(tmp_path / "rows.jsonl"), "timeout": 0.1, "parent": os.getppid()}
    running: Any = [SimpleNamespace(poll=lambda: None)]
    assert supervise._watch(tmp_path, job, running) == 1
    assert capfd.readouterr().err == f"{told}; ranks [0] were stopped\n"


@pytest.mark.parametrize(
    ("fault", "timeout", "reason"),
    [("die", 60.0, "rank 1 ended with exit code 7.*died on purpose"), ("hang", 6.0, "6 s")],
)
def test_a_rank_that_fails_ends_the_run_with_its_reason(
    tmp_path: Path, fault: str, timeout: float, reason: str
) -> None:
    """The others stop, the rows so far are kept, and the reason is printed."""
    pytest.importorskip("torch", reason="measuring needs tspsim[calibrate]")
    bad = _point({"collective": "shift", "bytes": 384, "fault": fault})
    with pytest.raises(CalibrationError, match=f"(?s){reason}.*1 rows are kept"):
        measure(_setup(tmp_path, timeout), None, [SHIFT, bad])
    assert [row.key for row in raw.read(tmp_path).rows] == [SHIFT.key]
    document = json.loads((tmp_path / "machine.json").read_text())
    assert document["backend"] == "gloo"
