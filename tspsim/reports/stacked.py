"""Gantt charts of two runs, one above the other on one time axis."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tspsim.analysis.apart import apart
from tspsim.files.numbers import plain
from tspsim.output.pictures import check, save
from tspsim.output.plots import gantt, pipeline
from tspsim.output.plots.bars import chart
from tspsim.output.plots.style import DARK
from tspsim.output.plots.titles import set_title, titled
from tspsim.output.plots.window import Window, choose, middle
from tspsim.output.units import time, time_unit
from tspsim.result import Result

#: Ranks of each run that are drawn: ranks do alike, and both runs have to fit on one page.
RANKS = 2


def draw(first: Result, second: Result, names: tuple[str, str], path: str | Path) -> None:
    """Draw two runs and save the picture.

    Parameters
    ----------
    first, second : Result
    names : (str, str)
        What they are called.
    path : str or Path
        Its suffix says the format, as in `tspsim.output.pictures.draw`.

    Raises
    ------
    OutputError
        When the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    check(path)
    save(figure((first, second), names), path, f"{names[0]} and {names[1]}")


def figure(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """Return a figure with the runs one above the other.

    Short runs are drawn whole, from 0 to the longer step time. Of long ones the same stretch of
    time is drawn, from the moment at which each begins the same layer. Where one has a pipeline,
    stages compute a layer at different times: the passes of both are drawn, whole.
    """
    if any(len(result.timeline.programs.roles) > 1 for result in results):
        return _passes(results, names)
    windows = _windows(results)
    heights = [chart(r.timeline, w).height for r, w in zip(results, windows, strict=True)]
    drawn = Figure(figsize=(13.0, sum(heights) + 2.6), layout="constrained")
    both = drawn.subplots(len(results), 1, height_ratios=heights)
    longest = max(w.end - w.start for w in windows)
    for ax, result, window, name in zip(both, results, windows, names, strict=True):
        shown = (window.start, min(window.end, result.timeline.step_time))
        gantt.plot(result, ax, window=shown, ranks=window.ranks)
        _same_axis(ax, shown, longest)
        if not window.note:
            _mark_end(ax, shown[1], longest, draw=_is_draw(results))
        shares = f"\n{gantt.DENSE}" if gantt.is_dense(ax) else ""
        title = titled(result, f"step {gantt.step_of(result)}", name)
        note = f". Shown: {window.note}" if window.note else ""
        set_title(ax, title + note + shares, pad=26 if shares else 16)
    both[0].set_xlabel("")
    _, unit = time_unit(longest)
    both[-1].set_xlabel(f"time since {_since(results, windows)} [{unit}]")
    return drawn


def _passes(results: Sequence[Result], names: Sequence[str]) -> Figure:
    """Return what the stages of the runs do, from 0 to the longer step time."""
    roles = [len(result.timeline.programs.roles) for result in results]
    heights = [count * pipeline.row_height(count) for count in roles]
    drawn = Figure(figsize=(pipeline.WIDTH, sum(heights) + 2.6), layout="constrained")
    both = drawn.subplots(len(results), 1, height_ratios=heights)
    longest = max(result.timeline.step_time for result in results)
    for ax, result, name in zip(both, results, names, strict=True):
        pipeline.plot(result, ax, until=longest)
        title = name + ax.get_title(loc="left").removeprefix(result.scenario.name)
        end = result.timeline.step_time
        if end < longest:
            ax.axvline(end / time_unit(longest)[0], color=DARK, lw=1.0, ls="--")
            title += f"; {_earlier(end, longest, draw=_is_draw(results))}"
        set_title(ax, title)
    both[0].set_xlabel("")
    return drawn


def _windows(results: Sequence[Result]) -> list[Window]:
    """Return what is shown of each run: everything, or the same layers for the same time."""
    ranks = [range(min(RANKS, result.timeline.mesh.ranks)) for result in results]
    cuts = [middle(r.timeline, 0, r.scenario.model.layers) for r in results]
    cut = next((layers for layers in cuts if layers is not None), None)
    if cut is None or len({r.scenario.model.layers for r in results}) > 1:
        return [Window(0.0, r.timeline.step_time, tuple(n), "")
                for r, n in zip(results, ranks, strict=True)]  # fmt: skip
    found = [choose(r, None, cut, n) for r, n in zip(results, ranks, strict=True)]
    longest = max(w.end - w.start for w in found)
    return [Window(w.start, w.start + longest, w.ranks, w.note) for w in found]


def _since(results: Sequence[Result], windows: Sequence[Window]) -> str:
    if not any(window.start for window in windows):
        return "the start of the step"
    cuts = (middle(r.timeline, 0, r.scenario.model.layers) for r in results)
    first = next(cut[0] for cut in cuts if cut is not None)
    return f"the start of layer {first}, forward"


def _is_draw(results: Sequence[Result]) -> bool:
    known = apart(*(result.summary.to_dict() for result in results))
    return known is not None and known.draw


def _earlier(end: float, longest: float, *, draw: bool) -> str:
    """Return how much earlier than the other one a run ends, and whether that is a draw."""
    return f"ends {time(longest - end)} earlier{' (a draw)' if draw else ''}"


def _mark_end(ax: Axes, end: float, longest: float, *, draw: bool) -> None:
    """Say where a run ends, how much earlier than the other one, and whether that is a draw."""
    drawn, _ = time_unit(end)
    if end < longest:
        ax.axvline(end / drawn, color=DARK, lw=1.0, ls="--")
        text = f" {_earlier(end, longest, draw=draw)}"
        ax.annotate(text, (end / drawn, 0.5), xycoords=("data", "axes fraction"), fontsize=8,
                    color=DARK)  # fmt: skip


def _same_axis(ax: Axes, shown: tuple[float, float], longest: float) -> None:
    """Let an axis count from 0 where its window begins, and be as long as the other one's."""
    start, end = shown
    drawn, (scale, _) = time_unit(end)[0], time_unit(longest)
    ticks = [
        t
        for t in MaxNLocator(10, steps=[1, 2, 5, 10]).tick_values(0, longest / scale)
        if 0 <= t * scale <= longest
    ]
    ax.set_xlim(start / drawn, (start + longest) / drawn)
    ax.set_xticks([(start + tick * scale) / drawn for tick in ticks], [plain(t) for t in ticks])
