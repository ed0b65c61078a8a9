"""What is measured on: names, versions, load, clock; and whether the machine is quiet."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import os
import platform
import time
from pathlib import Path
from typing import Literal

from tspsim.calibrate.rows import CalibrationError, Machine
from tspsim.files.errors import UserError
from tspsim.files.extras import install

#: Share of all cores that others may use while something is measured.
QUIET = 0.15
#: Share of all cores that they may use during a row; what the kernel does for our links counts.
DISTURBED = 0.3
#: Seconds over which that is watched.
WATCHED = 1.0

LinkKind = Literal["namespaces", "loopback", "device"]


def need_torch() -> None:
    """Raise unless torch is installed.

    Raises
    ------
    UserError
        It names the extra.
    """
    if importlib.util.find_spec("torch") is None:
        raise UserError(f"measuring needs torch, which is not installed: {install('calibrate')}")


def describe(link: LinkKind, rate: float | None) -> Machine:
    """Return the machine as it is now, with how ranks are joined."""
    need_torch()
    import torch

    gpu = torch.cuda.is_available()
    cores = torch.cuda.device_count() if gpu else len(os.sched_getaffinity(0))
    return Machine(
        device=torch.cuda.get_device_name() if gpu else _processor(),
        cores=cores,
        memory=torch.cuda.get_device_properties(0).total_memory if gpu else _memory(),
        system=f"{platform.system()} {platform.release()}",
        versions={
            "python": platform.python_version(),
            "torch": torch.__version__,
            "tspsim": importlib.metadata.version("tspsim") if _installed() else "source",
        },
        backend="nccl" if gpu else "gloo",
        link="device" if gpu else link,
        rate=None if gpu else rate,
    )


def _installed() -> bool:
    return any(d.name == "tspsim" for d in importlib.metadata.distributions(name="tspsim"))


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def _memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def load() -> float:
    """Return the load average of the last minute."""
    return os.getloadavg()[0]


def go_first() -> None:
    """Let this process's session go before others, where the user may ask for that.

    Linux shares cores between sessions first (autogroup): niceness counts only inside of one.
    """
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("-15", encoding="utf-8")


def clock() -> float | None:
    """Return the processor's clock in MHz, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    found = [float(line.partition(":")[2]) for line in lines if line.startswith("cpu MHz")]
    return round(sum(found) / len(found), 1) if found else None


def busy_share(seconds: float = WATCHED) -> float:
    """Return the share of all cores that is in use, watched while this process sleeps."""
    path = Path("/proc/stat")
    if not path.exists():
        return load() / (os.cpu_count() or 1)
    before = _ticks(path)
    time.sleep(seconds)
    after = _ticks(path)
    total = after[0] - before[0]
    return 1 - (after[1] - before[1]) / total if total else 0.0


def ticks() -> tuple[int, int]:
    """Return all ticks and the idle ones, of all cores together; zeros where nobody counts."""
    path = Path("/proc/stat")
    return _ticks(path) if path.exists() else (0, 0)


def share(before: tuple[int, int], elapsed: float, ours: float) -> float:
    """Return the share of all cores that others have used.

    Parameters
    ----------
    before : (int, int)
        From `ticks`.
    elapsed : float
        Seconds since then.
    ours : float
        Seconds of processor time that all ranks have used.
    """
    after = ticks()
    total = after[0] - before[0]
    if not total:
        return 0.0
    cores = os.cpu_count() or 1
    return max(0.0, 1 - (after[1] - before[1]) / total - ours / elapsed / cores)


def _ticks(path: Path) -> tuple[int, int]:
    """Return all ticks and the idle ones, of all cores together."""
    fields = [int(x) for x in path.read_text(encoding="utf-8").split("\n")[0].split()[1:]]
    return sum(fields[:8]), fields[3] + fields[4]


def check_quiet(*, patience: float = 0.0) -> None:
    """Raise unless the machine is quiet, after waiting at most `patience` seconds for it.

    Raises
    ------
    CalibrationError
        It says how busy the machine is.
    """
    until = time.monotonic() + patience
    while (share := busy_share()) > QUIET:
        if time.monotonic() >= until:
            raise CalibrationError(
                f"the machine is busy: others use {share:.0%} of its cores (at most {QUIET:.0%}), "
                f"load average {load():.2f}. Measure when it is quiet, or with --allow-busy."
            )
