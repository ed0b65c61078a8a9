"""The waterfall of a page: rows of bars, each from where the one before ends."""

from __future__ import annotations

from typing import NamedTuple

from tspsim.explain.why import Why
from tspsim.output.plots.style import DARK
from tspsim.reports.waterfall import COLOURS, falls, said


class Row(NamedTuple):
    """A row: its name, its seconds and share, and its bar in percent of the longest step."""

    name: str
    said: str
    left: float
    width: float
    colour: str


def rows(found: Why, longest: float) -> list[Row]:
    """Return the rows of a step, itself at the end.

    Parameters
    ----------
    found : Why
    longest : float
        Seconds of the longest step on the page: all waterfalls have one scale.
    """
    made = []
    for fall in falls(found):
        left, right = sorted((fall.start, fall.end))
        text, colour = said(fall.seconds, found.total), COLOURS[fall.group]
        made.append(Row(fall.name, text, *_percent(left, right, longest), colour))
    whole = _percent(0.0, found.total, longest)
    return [*made, Row("the step", said(found.total, found.total), *whole, DARK)]


def _percent(left: float, right: float, whole: float) -> tuple[float, float]:
    return (100 * left / whole, 100 * (right - left) / whole) if whole else (0.0, 0.0)
