"""Where a time lies, as people read it: bounds in the time's unit, with the digits that tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

#: Its seconds, and its name.
Unit = tuple[float, str]


def between(low: float, high: float, unit: Unit) -> str:
    """Return for example ``"8.3 to 9.7 s"`` or ``"6,800 to 9,100 ms"``: two digits of the width.

    Parameters
    ----------
    low, high : float
        Seconds.
    unit : (float, str)
        Of the time beside which it stands.
    """
    digits, (scale, name) = _digits(low, high, unit), unit
    return f"{rounded(low / scale, digits)} to {rounded(high / scale, digits)} {name}"


def within(interval: Mapping[str, Any] | None, unit: Unit) -> str:
    """Return where a step's time lies: ``"80 %: 8.3 to 9.7 s"``.

    Parameters
    ----------
    interval : Mapping or None
        ``interval`` of a run's figures; None: unknown.
    unit : (float, str)
        Of the time beside which it stands.
    """
    if interval is None:
        return "error unknown"
    bounds = between(interval["low"], interval["high"], unit)
    return f"{100 * interval['coverage']:.0f} %: {bounds}"


def stated(seconds: float, interval: Mapping[str, Any], unit: Unit) -> str:
    """Return a time and where it lies: ``"7,690 ms (80 %: 6,800 to 9,100 ms)"``.

    The time has one digit more than its bounds: further ones say nothing.
    """
    digits = _digits(interval["low"], interval["high"], unit) + 1
    return f"{rounded(seconds / unit[0], digits)} {unit[1]} ({within(interval, unit)})"


def rounded(value: float, digits: int) -> str:
    """Return a number with so many digits behind the dot; fewer than none: in tens, hundreds."""
    return f"{round(value, digits):,.{max(0, digits)}f}"


def _digits(low: float, high: float, unit: Unit) -> int:
    """Return how many digits behind the dot tell two of the width."""
    width = (high - low) / unit[0]
    return min(3, 1 - math.floor(math.log10(width))) if width else 2


def rests_on(interval: Mapping[str, Any] | None) -> str:
    """Return what the interval of a step's time rests on."""
    if interval is None:
        return "error unknown: no published step is like it"
    sources = interval["sources"]
    rows = f"{interval['rows']} published steps{' of mixtures' if interval['experts'] else ''}"
    rows += f" of {sources} source{'s' if sources > 1 else ''}"
    rows += ", run by other frameworks" if interval["borrowed"] else ""
    elsewhere = " and ".join(interval.get("elsewhere", ()))  # absent in results of before
    return f"interval by {rows}{f', on other {elsewhere}' if elsewhere else ''}"


def a_draw(names: Sequence[str], differ: float, least: float) -> str:
    """Return that some runs differ by a fraction, and that less than another is no difference."""
    most = "at most " if len(names) > 2 else ""
    return (
        f"a draw: {', '.join(names[:-1])} and {names[-1]} differ by {most}{100 * differ:.1f} %, "
        f"less than what two runs of one program are told apart by ({100 * least:.1f} %)"
    )
