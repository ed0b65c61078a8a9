"""Small pictures for notebooks: inline SVG of some kilobytes, on dark and on light pages."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from tspsim.output.passes import named, passes, stages_of
from tspsim.output.plots.pipeline import KINDS
from tspsim.output.plots.style import BLUE, DARK, GREY, VERMILLION, style_of
from tspsim.output.units import time

if TYPE_CHECKING:
    from tspsim.engine.timeline import Timeline
    from tspsim.result import Result

#: Pixels: of the names beside the rows, of the rows, and of one row with the gap below it.
NAMES, WIDTH, ROW, BAR = 150, 640, 16, 12
#: More rows say nothing more at this size.
ROWS = 16
#: What is recomputed is told apart by its hatch, which is too fine for this.
AGAIN = ", recomputed"
#: How the parts of a step are drawn, and what the legend calls them.
PARTS = {
    "compute": ("compute", BLUE),
    "exposed_communication": ("exposed communication", VERMILLION),
    "host": ("waits for the host", DARK),
    "idle": ("idle", GREY),
}

#: Begin, end and colour of a bar, in pixels.
Bar = tuple[int, int, str]


class Drawn(NamedTuple):
    """A bar: in which row, what it is called, its colour, and its time in seconds."""

    row: str
    kind: str
    colour: str
    start: float
    end: float


class Parts(NamedTuple):
    """A bar of several parts: its name, and seconds by part."""

    name: str
    seconds: Mapping[str, float]


def gantt(result: Result) -> str:
    """Return what the slowest rank does, a row per stream; of a pipeline, a row per stage.

    Tasks that are shorter than a pixel are drawn as one.
    """
    timeline = result.timeline
    step = timeline.step_time
    if not step:
        return ""
    rows: dict[str, list[Bar]] = defaultdict(list)
    used: dict[str, str] = {}
    for row, kind, colour, start, end in (_passes if _staged(timeline) else _tasks)(timeline):
        begin = int(WIDTH * start / step)
        rows[row].append((begin, max(begin + 1, round(WIDTH * end / step)), colour))
        used[kind] = colour
    return _picture(list(rows.items())[:ROWS], f"0 to {time(step)}") + _legend(used.items())


def stacked(found: Sequence[Parts]) -> str:
    """Return a bar per candidate, of what its step consists of; all on one scale."""
    longest = max((sum(each.seconds.values()) for each in found), default=0.0)
    if not longest:
        return ""
    rows: list[tuple[str, list[Bar]]] = []
    used: dict[str, str] = {}
    for each in found:
        bars: list[Bar] = []
        done = 0.0
        for part, seconds in each.seconds.items():
            name, colour = PARTS[part]
            begin, done = done, done + seconds
            if seconds:
                used[name] = colour
                bars.append((_pixel(begin / longest), _pixel(done / longest), colour))
        rows.append((each.name, bars))
    return _picture(rows, f"0 to {time(longest)}") + _legend(used.items())


def _pixel(part: float) -> int:
    return round(WIDTH * part)


def _staged(timeline: Timeline) -> bool:
    return len(timeline.programs.roles) > 1


def _passes(timeline: Timeline) -> Iterator[Drawn]:
    """Yield the passes of the first rank of every stage."""
    for rank in timeline.programs.first_ranks[:ROWS]:
        row = named(rank, stages_of(timeline.programs.of(rank)))
        for each in passes(timeline, rank):
            yield Drawn(row, *KINDS[each.kind], each.start, each.end)


def _tasks(timeline: Timeline) -> Iterator[Drawn]:
    """Yield the tasks of the slowest rank that take time, those of compute first."""
    spans = [span for span in timeline.spans(timeline.slowest_rank) if span.end > span.start]
    for span in sorted(spans, key=lambda span: span.lane != "compute"):
        style = style_of(span.op)
        yield Drawn(span.lane, style.name.removesuffix(AGAIN), style.colour, span.start, span.end)


def _picture(rows: Sequence[tuple[str, Sequence[Bar]]], axis: str) -> str:
    height = ROW * len(rows) + ROW
    drawn = "".join(_row(number, name, bars) for number, (name, bars) in enumerate(rows))
    end = NAMES + WIDTH
    axis = f"<text x='{end}' y='{height - 3}' text-anchor='end'>{escape(axis)}</text>"
    return (
        f"<svg viewBox='0 0 {end} {height}' "
        f"style='width:100%;max-width:{end}px;display:block;margin-top:.4em' "
        "font-family='sans-serif' font-size='11' fill='currentColor' role='img'>"
        f"{drawn}{axis}</svg>"
    )


def _row(number: int, name: str, bars: Sequence[Bar]) -> str:
    """Return one row: a pale ground, and a line of dashes for every colour."""
    top = ROW * number
    middle = top + BAR / 2
    text = f"<text x='{NAMES - 6}' y='{top + 10}' text-anchor='end'>{escape(name[:26])}</text>"
    ground = f"<rect x='{NAMES}' y='{top}' width='{WIDTH}' height='{BAR}' opacity='.08'/>"
    lines = "".join(
        f"<path d='{_dashes([bar for bar in bars if bar[2] == colour], middle)}' "
        f"stroke='{colour}' stroke-width='{BAR}'/>"
        for colour in dict.fromkeys(bar[2] for bar in bars)
    )
    return text + ground + lines


def _dashes(bars: Sequence[Bar], middle: float) -> str:
    """Return bars as one path; those that touch are one dash."""
    dashes: list[list[int]] = []
    for begin, end, _ in sorted(bars):
        if dashes and begin <= dashes[-1][1]:
            dashes[-1][1] = max(end, dashes[-1][1])
        else:
            dashes.append([begin, end])
    return "".join(f"M{NAMES + begin} {middle:g}h{end - begin}" for begin, end in dashes)


def _legend(kinds: Iterable[tuple[str, str]]) -> str:
    square = "display:inline-block;width:.8em;height:.8em;margin:0 .3em 0 1em;background:"
    told = "".join(f"<span style='{square}{colour}'></span>{escape(n)}" for n, colour in kinds)
    return f"<div style='font-size:11px;margin:0 0 .6em {NAMES}px'>{told}</div>"
