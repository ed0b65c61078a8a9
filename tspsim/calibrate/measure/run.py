"""One calibration run: every point that is not there yet, number of ranks by number of ranks."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from tspsim.calibrate.measure import links, machine
from tspsim.calibrate.measure.grid import Point, points
from tspsim.calibrate.rows import CalibrationError, rows_there, write_machine
from tspsim.files.reading import STORED, is_there, read_bytes

#: ``progress(done, total)``.
Progress = Callable[[int, int], None]

#: Seconds after which ranks that measured nothing are given up.
TIMEOUT = 120.0
#: Seconds to wait for a quiet machine.
PATIENCE = 20.0
#: How often a row is measured at most while others take the cores.
ATTEMPTS = 4


@dataclass(frozen=True, slots=True)
class Setup:
    """How to measure.

    Parameters
    ----------
    folder : Path
        Where rows go, and where those of an earlier run lie.
    ranks : tuple of int
    rate : float
        Bits/s of a throttled link.
    quick : bool
    throttled : bool
        Namespaces with throttled links; otherwise loopback.
    allow_busy : bool
        Measure although others use the machine.
    timeout : float
        Seconds after which ranks that measured nothing are given up.
    real_time : bool
        Ranks go before everything else on the machine, where the user may ask for that.
    trace : Path, optional
        A folder for a trace of every block that is measured; none are made when not given.
    """

    folder: Path
    ranks: tuple[int, ...] = (2, 4)
    rate: float = 1e9
    quick: bool = False
    throttled: bool = True
    allow_busy: bool = False
    timeout: float = TIMEOUT
    real_time: bool = False
    trace: Path | None = None


def measure(
    setup: Setup, progress: Progress | None = None, todo: Sequence[Point] | None = None
) -> int:
    """Measure what is not there yet; return the number of new rows.

    Parameters
    ----------
    setup : Setup
    progress : callable, optional
    todo : sequence of Point, optional
        What to measure, in place of the grid.

    Raises
    ------
    UserError
        When torch is missing.
    CalibrationError
        When the machine is busy, rows of another machine lie in the folder, or a rank failed; the
        rows measured so far are kept.
    """
    here = machine.describe("namespaces" if setup.throttled else "loopback", _rate(setup))
    there = {row.key for row in rows_there(setup.folder, here)}
    wanted = list(todo if todo is not None else points(setup.ranks, here.cores, quick=setup.quick))
    missing = [point for point in wanted if point.key not in there]
    if missing and not setup.allow_busy:
        machine.check_quiet(patience=PATIENCE)
    write_machine(setup.folder, here)
    done = len(wanted) - len(missing)
    for (ranks, _), group in groupby(missing, key=_processes):
        batch = list(group)
        told = functools.partial(_tell, progress, done, len(wanted))
        _Batch(setup, here.link, ranks, batch).run(told)
        done += len(batch)
    return len(missing)


def _tell(progress: Progress | None, before: int, total: int, new: int) -> None:
    if progress is not None:
        progress(before + new, total)


def _processes(point: Point) -> tuple[int, str]:
    """Return what points must share to share processes.

    Every block has its own: processes that have had many communicators before were seen to run
    a block up to a third slower than fresh ones do.
    """
    return point.ranks, point.key if point.kind == "block" else str(point.case.get("trial"))


def _rate(setup: Setup) -> float | None:
    return setup.rate if setup.throttled else None


class _Batch:
    """The points of one number of ranks, in one set of processes."""

    def __init__(self, setup: Setup, link: str, ranks: int, batch: list[Point]) -> None:
        self.setup, self.link, self.ranks, self.batch = setup, link, ranks, batch
        self.out = setup.folder.absolute() / "rows.jsonl"

    def run(self, told: Callable[[int], Any]) -> None:
        """Run the ranks to their end.

        Raises
        ------
        CalibrationError
            With the reason, when one failed.
        """
        before = _lines(self.out)
        with (
            tempfile.TemporaryDirectory(prefix="tspsim-") as name,
            self._start(Path(name)) as process,
        ):
            try:
                while process.poll() is None:
                    told(_lines(self.out) - before)
                    time.sleep(0.2)
            except BaseException:
                process.terminate()
                raise
            told(_lines(self.out) - before)
            assert process.stderr is not None
            reason = process.stderr.read().strip()
        if process.returncode:
            kept = _lines(self.out)
            raise CalibrationError(
                f"{reason or 'the ranks could not be started'}\n"
                f"{kept} rows are kept in {self.setup.folder}; the same command goes on from there."
            )

    def _start(self, folder: Path) -> subprocess.Popen[str]:
        job = {
            "ranks": self.ranks, "points": [asdict(point) for point in self.batch],
            "link": self.link, "rate": self.setup.rate, "out": str(self.out),
            "parent": os.getpid(), "timeout": self.setup.timeout, "store": str(links.store(folder)),
            "real_time": self.setup.real_time,
            "attempts": 1 if self.setup.allow_busy else ATTEMPTS,
            "trace": str(self.setup.trace.absolute()) if self.setup.trace else None,
        }  # fmt: skip
        path = folder / "job.json"
        path.write_text(json.dumps(job), encoding="utf-8")
        command = [sys.executable, "-m", "tspsim.calibrate.measure.supervise", str(path)]
        wrapped = [*links.UNSHARE, *command] if self.link == "namespaces" else command
        root = str(Path(__file__).parents[3])
        search = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        return subprocess.Popen(  # noqa: S603
            wrapped, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONPATH": search},
        )  # fmt: skip


def _lines(path: Path) -> int:
    return read_bytes(path, most=STORED).count(b"\n") if is_there(path) else 0
