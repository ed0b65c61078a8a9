"""Numbers as people read them: times, sizes and rates with a unit that suits their size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tspsim.files.between import stated, within
from tspsim.files.numbers import plain

TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def time_unit(seconds: float) -> tuple[float, str]:
    """Return the unit (its seconds and its name) in which a time has 1 to 4 digits before the dot.

    Ten seconds and more are seconds; below a tenth of a millisecond it is microseconds.
    """
    if seconds >= 10:
        return TIMES[0]
    return TIMES[1] if seconds >= 1e-4 else TIMES[2]


def time(seconds: float) -> str:
    """Return for example ``"1,234.5 ms"``."""
    if not seconds:
        return "0 s"
    scale, name = time_unit(seconds)
    value = seconds / scale
    digits = 1 if value >= 100 else 2 if value >= 10 else 3
    return f"{value:,.{digits}f} {name}"


def step_time(seconds: float, interval: Mapping[str, Any] | None) -> str:
    """Return a step's time and where it lies, in one unit, with the digits that tell.

    Parameters
    ----------
    seconds : float
    interval : Mapping or None
        ``interval`` of a run's figures; None: unknown.
    """
    unit = time_unit(seconds)
    if interval is None:
        return f"{time(seconds)} ({within(None, unit)})"
    return stated(seconds, interval, unit)


def as_in_table(seconds: float, interval: Mapping[str, Any] | None) -> str:
    """Return a step's time with the digits that a table beside it has, and where it lies."""
    return f"{time(seconds)} ({within(interval, time_unit(seconds))})"


def size(amount: float) -> str:
    """Return bytes in binary units, for example ``"38.8 GiB"``."""
    for scale, name in ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        # From a tenth on, so that a table of GiB does not change unit at every line.
        if amount >= 0.1 * scale:
            value = amount / scale
            return f"{value:,.{1 if value >= 10 else 2}f} {name}"
    return f"{amount:.0f} B"


def byte_rate(rate: float) -> str:
    """Return bytes a second as of memories and links, ``"3.35 TB/s"`` or ``"0.492 GB/s"``."""
    scale, name = (1e12, "TB/s") if rate >= 1e11 else (1e9, "GB/s")
    return f"{plain(rate / scale, 3)} {name}"


def share(part: float, whole: float) -> str:
    """Return a part in percent of a whole, for example ``"51.8 %"``."""
    return f"{100 * part / whole:.1f} %" if whole else "- %"


def duration(seconds: float) -> str:
    """Return a time of a job, for example ``"7 d"``, ``"1.5 h"``, ``"12.3 min"`` or ``"8 s"``."""
    for scale, name in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= scale:
            return f"{plain(seconds / scale, 3)} {name}"
    return f"{plain(seconds, 3)} s" if seconds >= 0.1 or not seconds else time(seconds)
