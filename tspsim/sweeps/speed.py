"""How fast a run is, in the figure that candidates compete in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Columns of a sweep in which inference competes, the first that a row has.
SERVED = ("inference.output_tokens_per_second", "inference.prompt_tokens_per_second")
#: What the seconds of a phase are of.
_OF = {"prefill": "until the first token", "decode": "a token", "generate": "for all tokens"}


def speed(figures: Mapping[str, Any]) -> float:
    """Return tokens per second: of inference new ones over all steps, of prompts where none are.

    Parameters
    ----------
    figures : Mapping
        Those of a run, as in ``--json``.
    """
    found = figures.get("inference")
    if found is None:
        return float(figures["tokens_per_second"])
    return float(found["output_tokens_per_second"] or found["prompt_tokens_per_second"] or 0.0)


def speed_of_row(figures: Mapping[str, Any]) -> float:
    """Return the same of a row of a sweep."""
    name = next((name for name in SERVED if name in figures), "tokens_per_second")
    return float(figures[name])


def seconds(figures: Mapping[str, Any]) -> float:
    """Return the seconds of a step; of inference those of all steps."""
    found = figures.get("inference")
    return float(found["latency"] if found else figures["step_time"])


def said(figures: Mapping[str, Any]) -> str:
    """Return what these seconds are of, as it stands behind them."""
    found = figures.get("inference")
    return _OF[found["phase"]] if found else "a step"


def several(figures: Mapping[str, Any]) -> bool:
    """Whether they are of several steps, and the other figures of the last one."""
    found = figures.get("inference")
    parts = (found["prefill"], found["decode"]) if found else ()
    return sum(int(part["steps"]) for part in parts if part) > 1
