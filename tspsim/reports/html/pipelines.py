"""What a report says of a pipeline: its picture, and the bubble of the rank that waits longest."""

from __future__ import annotations

from tspsim.explain.bubble import BubbleCauses
from tspsim.output.pictures import svg
from tspsim.output.plots.pipeline import plot
from tspsim.result import Result

#: Passes of the picture at most: about 3 MB.
MOST = 4000


def picture(result: Result) -> str:
    """Return the pipeline's picture as an svg element; empty where there is none, or too much."""
    passes = sum(len(program.actions) for program in result.timeline.programs.roles)
    if result.summary.pipeline is None or passes > MOST:
        return ""
    figure = plot(result).get_figure(root=True)
    assert figure is not None
    return svg(figure)


def parts(found: BubbleCauses | None) -> list[tuple[str, float]]:
    """Return the parts of a bubble that take time, by name."""
    return list(found.named.items()) if found else []
