"""Titles of plots: whose step it is, on what, and what is drawn of it."""

from __future__ import annotations

from textwrap import wrap

from matplotlib.axes import Axes

from tspsim.files.numbers import plain
from tspsim.output.plots.paper import MOST, asked
from tspsim.result import Result

#: Points of a title on a screen, and the width of a letter over its height.
POINTS, LETTER = 10.0, 0.55


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
    axes = " x ".join(f"{axis} {degree}" for axis, degree in mesh.axes if degree > 1)
    device = scenario.topology.devices[0].name
    on = f"{mesh.ranks:,} x {device}" + (f", {axes}" if axes else "")
    size = parameters(scenario.model.parameters)
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
    spec = ax.get_subplotspec()
    width = ax.figure.get_figwidth() / (spec.get_gridspec().ncols if spec else 1)  # type: ignore[union-attr]
    letters = int(72 * width / (LETTER * size))
    lines = [line for part in text.split("\n") for line in wrap(part, max(letters, 20)) or [""]]
    ax.set_title("\n".join(lines), loc="left", fontsize=size, pad=pad)
