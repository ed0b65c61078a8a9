"""Starts the ranks of one job and sees to it that none is left behind when one fails.

Run as ``python -m tspsim.calibrate.measure.supervise JOB.json``, inside of new namespaces where
links are throttled. Exit code 0 when all ranks ended well; otherwise 1 with the reason on stderr.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tspsim.calibrate.measure import links

#: Seconds between looks at the ranks.
LOOK = 0.1
#: Seconds that ranks have to end by themselves once told.
GRACE = 3.0
#: Seconds that ranks have at least to start and to meet: on a busy machine, importing takes long.
MEETING = 60.0
#: The file beside the job by which its ranks say that they have met.
MET = "met"

Ranks = list["subprocess.Popen[bytes]"]


def main(path: Path) -> int:
    """Run a job; return the exit code."""
    job = json.loads(path.read_text(encoding="utf-8"))
    running: Ranks = []
    try:
        if job["link"] == "namespaces":
            links.make(job["ranks"], job["rate"])
        for rank in range(job["ranks"]):
            running.append(_start(path, job, rank))  # told to end meanwhile, it knows the others
        return _watch(path.parent, job, running)
    except (OSError, subprocess.CalledProcessError) as error:
        detail = getattr(error, "stderr", None) or ""
        return _fail(f"the ranks' links could not be made: {error} {detail}")
    finally:
        _hear_nothing()  # a second signal must not keep it from ending the ranks
        stop(running)


def _start(path: Path, job: dict[str, Any], rank: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tspsim.calibrate.measure.rank", str(path), str(rank)]
    throttled = job["link"] == "namespaces"
    interface = {"GLOO_SOCKET_IFNAME": "eth0" if throttled else "lo"}
    whole = links.inside(rank, command) if throttled else command
    with (path.parent / f"rank{rank}.log").open("wb") as log:
        return subprocess.Popen(  # noqa: S603
            links.nicer(whole, real_time=job["real_time"]), stdout=log, stderr=log,
            env=os.environ | interface, start_new_session=True,
        )  # fmt: skip


def _watch(folder: Path, job: dict[str, Any], running: Ranks) -> int:
    """Wait for the ranks; give up when one fails, or nothing was measured for too long."""
    limit, seen, since = job["timeout"], (False, -1), time.monotonic()
    while os.getppid() == job["parent"]:
        codes = [process.poll() for process in running]
        if any(codes):
            time.sleep(LOOK)  # the others may be about to say why
            return _fail(_story(folder, running))
        if all(code == 0 for code in codes):
            return 0
        if (now := _progress(folder, Path(job["out"]))) != seen:
            seen, since = now, time.monotonic()
        patience = limit if seen[0] else max(limit, MEETING)
        if time.monotonic() - since > patience:
            alive = [rank for rank, code in enumerate(codes) if code is None]
            what = "nothing was measured" if seen[0] else "the ranks did not meet"
            return _fail(f"{what} for {patience:g} s; ranks {alive} were stopped")
        time.sleep(LOOK)
    return _fail("the command that measures has died; the ranks were stopped")


def _progress(folder: Path, out: Path) -> tuple[bool, int]:
    """Return whether the ranks have met, and how many bytes of rows they have written."""
    return (folder / MET).exists(), out.stat().st_size if out.exists() else 0


def _story(folder: Path, running: Ranks) -> str:
    """Return why ranks failed, all that did: one that dies takes others with it, in any order."""
    failed = [rank for rank, process in enumerate(running) if process.poll()]
    ends = ", ".join(f"rank {rank} {_how(running[rank].returncode)}" for rank in failed)
    words = (line for rank in failed for line in _last_words(folder / f"rank{rank}.log"))
    return f"{ends}; the others were stopped. " + " | ".join(words)


def _how(code: int) -> str:
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"


def _last_words(log: Path) -> list[str]:
    return log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]


def _fail(reason: str) -> int:
    sys.stderr.write(reason.strip() + "\n")
    return 1


def stop(running: Ranks) -> None:
    """End what still runs, with everything that it started."""
    for process in running:
        if process.poll() is None:
            os.killpg(process.pid, 15)
    until = time.monotonic() + GRACE
    for process in running:
        try:
            process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _hear_nothing() -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(each, signal.SIG_IGN)


if __name__ == "__main__":
    # Told to end, it ends its ranks first. An interrupt is its parent's, who then tells it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for heard in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(heard, lambda *_: sys.exit(1))
    raise SystemExit(main(Path(sys.argv[1])))
