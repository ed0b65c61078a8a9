"""Two constants that kernels by themselves do not show, fitted to whole steps.

One program on two devices tells them apart: how closely a framework's kernels follow each other
(`tspsim.kernels.TORCH_PACE`, on A100), and how far a device falls behind the rate of kernels that
were timed alone, as power slows its clocks in long runs (``sustained`` of the profile, on H100).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any

from tspsim.calibrate.published.steps import Step, predict, with_kernels

_PLACES = 2
#: Each round comes nearer by a factor of about five; what moves less than this stays where it is.
_STILL = 0.1**_PLACES / 4


def pace(steps: Sequence[Step], profile: str | Mapping[str, Any]) -> float:
    """Return the pace at which the median of some steps is met."""
    return _settled(
        lambda found: median(_ratio(with_kernels(step, pace=found), profile) for step in steps)
    )


def sustained(steps: Sequence[Step], profile: Mapping[str, Any]) -> float:
    """Return the part of its kernels' rate that a device sustains, likewise."""
    return _settled(
        lambda found: median(_ratio(step, {**profile, "sustained": found}) for step in steps)
    )


def _settled(off: Callable[[float], float]) -> float:
    """Return the constant at which predictions are off by a factor of 1."""
    found, before = 1.0, 0.0
    while abs(found - before) > _STILL:
        found, before = min(1.0, found * off(found)), found
    return round(found, _PLACES)


def _ratio(step: Step, profile: str | Mapping[str, Any]) -> float:
    return predict(step, profile).seconds / step.seconds
