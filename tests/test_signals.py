"""Commands that are told to end leave no process and no noise behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
#: Seconds that anything here may take.
PATIENCE = 60.0

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


def started(*arguments: str, module: tuple[str, ...] = ("tspsim",)) -> subprocess.Popen[str]:
    """Start a command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", *module, *arguments], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def living() -> Iterator[tuple[int, int]]:
    """Yield process and parent of everything that runs."""
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            yield int(place.name), int(fields[1])


def below(root: int) -> set[int]:
    """Return every process that a process has started, directly or not."""
    parents = dict(living())
    found = {root}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {root}


def wait_until(true: Callable[[], bool]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def measuring(folder: Path) -> subprocess.Popen[str]:
    """Start a measurement, and return it once its ranks have measured something."""
    pytest.importorskip("torch", reason="measuring needs the extra 'calibrate'")
    process = started(
        "calibrate", "measure", "-o", str(folder), "--quick", "--ranks", "2", "--loopback",
        "--allow-busy",
    )  # fmt: skip
    rows = folder / "rows.jsonl"
    wait_until(lambda: rows.exists() and rows.stat().st_size > 0)
    return process


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_measurement_that_is_told_to_end_ends_its_ranks(
    tmp_path: Path, told: signal.Signals
) -> None:
    """Supervisor and ranks are gone when the command is; it ends as interrupted."""
    process = measuring(tmp_path / "rows")
    family = below(process.pid)
    assert len(family) >= 3
    process.send_signal(told)
    assert process.communicate(timeout=PATIENCE)[1] == "interrupted\n"
    assert process.returncode == 130
    assert not family & dict(living()).keys()


def test_ranks_do_not_outlive_a_measurement_that_was_killed(tmp_path: Path) -> None:
    """What cannot clean up after itself is missed by its supervisor."""
    process = measuring(tmp_path / "rows")
    family = below(process.pid)
    process.kill()
    process.communicate(timeout=PATIENCE)
    wait_until(lambda: not family & dict(living()).keys())


def test_a_sweep_that_is_told_to_end_says_what_is_stored_and_nothing_else(tmp_path: Path) -> None:
    """No warning of Python's resource tracker, no worker left behind, and the rows stay."""
    process = started(
        "sweep", "scenarios/llama3-8b-128k-mi300x-tsp.yaml",
        "workload.sequence=range(8192,819200,8192)", "-o", str(tmp_path / "out"), "--jobs", "2",
        module=("tests.held", "1"),
    )  # fmt: skip
    wait_until(lambda: len(below(process.pid)) >= 3)
    time.sleep(1)  # workers import, or work
    family = below(process.pid)
    process.send_signal(signal.SIGTERM)
    said = process.communicate(timeout=PATIENCE)[1].splitlines()
    assert process.returncode == 130
    assert said[-1] == "interrupted"
    assert [line for line in said if "of 100 points are stored" not in line] == ["interrupted"]
    wait_until(lambda: not family & dict(living()).keys())
