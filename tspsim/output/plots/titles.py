"""Titles of plots: whose step it is, on what, and what is drawn of it."""

from __future__ import annotations

from textwrap import wrap

from matplotlib.axes import Axes

from tspsim.files.numbers import plain
from tspsim.output.plots.paper import MOST, asked
from tspsim.result import Result

#: Points of a title on a screen, and the width of a letter over its height.
POINTS, LETTER = 10.0, 0.55
#: A space at which no line ends: "4 x h100" and "tsp 4" stay together.
JOINT = "\u00a0"
#: Part of its width that a panel's title has, which begins where the axes do; as beside a bar.
BESIDE = 0.8


def titled(result: Result, rest: str, name: str = "") -> str:
    """Return a title of two lines: the scenario with its work, model, devices and mesh; the rest.

    Parameters
    ----------
    result : Result
    rest : str
        What is drawn of it.
    name : str
        What the run is called, where that is not its scenario's name.
    """
    scenario, mesh = result.scenario, result.timeline.mesh
    axes = " x ".join(f"{axis}{JOINT}{degree}" for axis, degree in mesh.axes if degree > 1)
    device = scenario.topology.devices[0].name
    on = f"{mesh.ranks:,} x {device}".replace(" ", JOINT) + (f", {axes}" if axes else "")
    size = parameters(scenario.model.parameters)
    if called := scenario.model_name:
        size = f"{called} ({size})"
    return f"{name or scenario.name}: {_work(result)}, {size} on {on}\n{rest}"


def parameters(count: int) -> str:
    """Return a number of parameters as models are called by it: ``"8.03B parameters"``."""
    for scale, unit in ((1e9, "B"), (1e6, "M")):
        if count >= scale:
            return f"{plain(count / scale, 3)}{unit} parameters"
    return f"{count:,} parameters"


def _work(result: Result) -> str:
    """Return what the step does."""
    workload = result.scenario.workload
    requests, series = workload.requests, workload.series
    if requests is not None and series is not None:
        steps = series.prefills + series.decodes
        return requests.text + (f", the last of {steps:,} steps" if steps > 1 else "")
    kind = "training step" if workload.phase == "train" else workload.phase
    return f"{kind} of {workload.tokens * result.timeline.mesh.replicas:,} tokens"


def set_title(ax: Axes, text: str, pad: float = 6.0) -> None:
    """Set the title of axes, in lines no longer than the picture, or its column, is wide."""
    size = POINTS if asked() is None else MOST
    width = ax.figure.get_figwidth()  # type: ignore[union-attr]
    if spec := ax.get_subplotspec():
        grid = spec.get_topmost_subplotspec().get_gridspec()
        # A colour bar beside the axes has made a grid of its own.
        alone = grid.ncols * grid.nrows == 1 and spec.get_gridspec() is grid
        width *= (1.0 if alone else BESIDE) / grid.ncols
    ax.set_title(wrapped(text, width, size), loc="left", fontsize=size, pad=pad)


def wrapped(text: str, inches: float, size: float) -> str:
    """Return a text in lines that are so wide at most, in letters of a size in points."""
    letters = max(int(72 * inches / (LETTER * size)), 20)
    lines = (
        line
        for part in text.split("\n")
        for line in wrap(part, letters, break_on_hyphens=False) or [""]
    )
    return "\n".join(lines).replace(JOINT, " ")
