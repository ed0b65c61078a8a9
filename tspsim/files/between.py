"""Where a time lies, as people read it: two bounds in one unit, with as many digits as tell."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

_UNITS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))


def between(low: float, high: float) -> str:
    """Return for example ``"8.3 to 9.7 s"`` or ``"490 to 610 ms"``: two digits of the width."""
    scale, name = next((unit for unit in _UNITS if high >= unit[0]), _UNITS[-1])
    first, last = low / scale, high / scale
    width = last - first
    digits = min(3, max(0, 1 - math.floor(math.log10(width)))) if width else 2
    return f"{first:,.{digits}f} to {last:,.{digits}f} {name}"


def within(interval: Mapping[str, Any] | None) -> str:
    """Return where a step's time lies: ``"80 %: 8.3 to 9.7 s"``.

    Parameters
    ----------
    interval : Mapping or None
        ``interval`` of a run's figures; None: unknown.
    """
    if interval is None:
        return "error unknown"
    return f"{100 * interval['coverage']:.0f} %: {between(interval['low'], interval['high'])}"


def rests_on(interval: Mapping[str, Any] | None) -> str:
    """Return what the interval of a step's time rests on."""
    if interval is None:
        return "error unknown: no published step is like it"
    rows = f"{interval['rows']} published steps of {interval['sources']} sources"
    return f"interval by {rows}{', run by other frameworks' if interval['borrowed'] else ''}"


def a_draw(names: Sequence[str], differ: float, least: float) -> str:
    """Return that some runs differ by a fraction, and that less than another is no difference."""
    most = "at most " if len(names) > 2 else ""
    return (
        f"a draw: {', '.join(names[:-1])} and {names[-1]} differ by {most}{100 * differ:.1f} %, "
        f"less than what two runs of one program are told apart by ({100 * least:.1f} %)"
    )
