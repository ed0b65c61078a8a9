"""Whether two rows of a sweep are told apart: which of them is faster, or that nobody knows."""

from __future__ import annotations

from typing import Any

from tspsim.analysis.apart import Apart
from tspsim.sweeps.store import Row

#: Keys that may change the profile, or whose kernels run.
_MACHINE = ("topology", "timing", "kernels", "device")


def apart(first: Row, second: Row) -> Apart | None:
    """Return how far two points that ran are apart; None: their difference's error is unknown.

    It is known on one machine with one framework's kernels: see `tspsim.analysis.apart.apart`.
    """
    one, other = (row.figures.get("told_apart") for row in (first, second))
    if one is None or other is None or _machine(first) != _machine(second):
        return None
    rates = [row.figures["tokens_per_second"] for row in (first, second)]
    return Apart(rates[0] / rates[1], max(one, other)) if all(rates) else None


def _machine(row: Row) -> dict[str, Any]:
    return {key: value for key, value in row.axes.items() if key.partition(".")[0] in _MACHINE}
