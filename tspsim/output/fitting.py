"""How many sequences would fit, in words: beside a verdict that those asked for do not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: What of a peak goes with sequences.
_GROWING = ("kv_cache", "activation", "workspace")


def would_fit(figures: Mapping[str, Any]) -> str:
    """Return how many of the sequences that do not fit would; nothing where none are counted.

    Parameters
    ----------
    figures : Mapping
        Those of a run, as in ``--json``.
    """
    found, memory = figures.get("inference"), figures["memory"]
    if found is None or found["fitting"] is None:
        return ""
    if found["fitting"]:
        return f"{found['fitting']:,} of the {found['sequences']:,} sequences would fit"
    fixed = sum(size for kind, size in memory["at_peak"].items() if kind not in _GROWING)
    if fixed > memory["capacity"]:
        return "the weights alone do not fit"
    return "not one sequence of this length would fit"
