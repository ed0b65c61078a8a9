"""When a rank is in which phase: forward, backward with its recomputation, optimizer."""

from __future__ import annotations

from typing import Any, NamedTuple

from tspsim.engine.timeline import Timeline
from tspsim.output.plots.style import DARK, GREY

#: How a strip of a phase is drawn.
LOOKS: dict[str, dict[str, Any]] = {
    "forward": {"facecolor": GREY, "edgecolor": GREY},
    "backward": {"facecolor": DARK, "edgecolor": DARK},
    "optimizer": {"facecolor": "white", "edgecolor": DARK, "hatch": "//////"},
}


class Stretch(NamedTuple):
    """A phase on the page: seconds."""

    phase: str
    start: float
    end: float


def phases(timeline: Timeline, rank: int) -> list[Stretch]:
    """Return the stretches of forward, backward (with its recomputation) and optimizer."""
    found: list[Stretch] = []
    for span in timeline.spans(rank):
        if span.op.lane:
            continue
        phase = "backward" if span.op.phase == "recompute" else span.op.phase
        if found and found[-1].phase == phase:
            found[-1] = found[-1]._replace(end=span.end)
        else:
            found.append(Stretch(phase, span.start, span.end))
    return found
