"""What the study of pipelines adds to the others: a closed form, two tables and a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tspsim.model import ModelShape
from tspsim.output.plots.style import BLUE, DARK, GREY, ORANGE
from tspsim.sweeps import study as studies

#: Layouts as the page calls them: colour and dashes.
LAYOUTS = {
    "TSP x PP": (BLUE, "-"), "TP x PP": (ORANGE, "-"),
    "TSP x FSDP": (BLUE, "--"), "TP x FSDP": (ORANGE, "--"),
}  # fmt: skip
#: Nodes and sequence of the panels over the tokens of a micro-batch, and that of the bars.
PANELS, LONG = ((8, 32768), (32, 32768), (32, 8192)), 524288
#: Bytes of an element that travels.
ITEM = 2


class Point(NamedTuple):
    """A row of the results, as the page needs it."""

    nodes: int
    sequence: int
    layout: str
    schedule: str
    micro_batches: int
    tokens: int
    mesh: str
    figures: Mapping[str, float]
    fits: bool

    @property
    def rate(self) -> float:
        """Tokens per second and device."""
        return self.figures["tokens_per_second_per_device"]


def points(rows: Sequence[Mapping[str, str]]) -> list[Point]:
    """Return the rows of the committed table."""
    return [_point(row) for row in rows]


def _point(row: Mapping[str, str]) -> Point:
    strategy: dict[str, Any] = yaml.safe_load(row["strategy"])
    pipeline = strategy.get("pp")
    kind = "TSP" if strategy["kind"] == "tsp" else "TP"
    sequence = int(row["workload.sequence"])
    return Point(
        int(row["topology.nodes"]),
        sequence,
        f"{kind} x {'PP' if pipeline else 'FSDP'}",
        pipeline["schedule"] if pipeline else "",
        int(row["workload.micro_batches"]),
        sequence * int(row["workload.batch"]),
        row["mesh"],
        {key: float(text) for key, text in row.items() if _is_number(text)},
        row["status"] == "ok",
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# ---- the closed form -----------------------------------------------------------------------------


def moved(model: ModelShape, tokens: float, degree: int) -> dict[str, float]:
    """Return the bytes that a rank receives for a layer and micro-batch, forward to backward.

    With full recompute. The volumes are those of docs/strategies.md (its table, and what it says
    of recompute and of the second gather under sequence parallel); tests/test_closed_forms.py
    compares them with recorded programs.
    """
    weights = model.attention_weights + model.mlp_weights
    share = ITEM * (degree - 1) / degree
    return {
        "weights": 3 * share * weights,
        "TSP": 3 * share * (weights + 2 * tokens * model.kv_width),
        "TP": 14 * share * tokens * model.hidden,
    }


def equal(model: ModelShape) -> float:
    """Return the tokens of a micro-batch at which TSP and TP move as many bytes."""
    weights = model.attention_weights + model.mlp_weights
    return 3 * weights / (14 * model.hidden - 6 * model.kv_width)


# ---- tables --------------------------------------------------------------------------------------


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _kilo(count: float) -> str:
    return f"{count / 2**10:.0f}K"


def _cells(point: Point) -> tuple[str, ...]:
    """Return step time with its interval, bubble, exposed communication and peak."""
    found = point.figures
    step, low, high = (found[f"step_time{end}"] for end in ("", "_low", "_high"))
    idle, exposed = (100 * found[f"time.{k}"] / step for k in ("idle", "exposed_communication"))
    peak = f"{found['memory.peak'] / 2**30:.0f} GiB{'' if point.fits else ', too much'}"
    span = f"{step:.1f} s ({low:.0f} to {high:.0f})"
    return span, f"{idle:.0f} %", f"{exposed:.1f} %", peak


def told(first: Point, second: Point) -> str:
    """Return by how much the first is faster; ≈ where the two cannot be told apart."""
    lead = first.rate / second.rate - 1
    apart = max(p.figures["told_apart"] for p in (first, second))
    ratio = max(first.rate, second.rate) / min(first.rate, second.rate)
    return f"{'≈ ' if ratio - 1 < apart else ''}{100 * lead:+.0f} %"


def turns(found: Sequence[Point]) -> Iterator[str]:
    """Yield TSP against TP at every size of a micro-batch."""
    yield _row("nodes", "sequence", "tokens of a micro-batch", "micro-batches, PP",
               "TSP x PP against TP x PP", "micro-batches, FSDP", "TSP x FSDP against TP x FSDP",
               "TSP's bytes against TP's")  # fmt: skip
    yield "|---:|---:|---:|---:|---:|---:|---:|---:|"
    plain = [p for p in found if p.schedule in ("", "1f1b") and p.sequence != LONG]
    for nodes, sequence, tokens in sorted({(p.nodes, p.sequence, p.tokens) for p in plain}):
        here = {p.layout: p for p in plain if p[:2] == (nodes, sequence) and p.tokens == tokens}
        cells = []
        for kind in ("PP", "FSDP"):
            pair = here.get(f"TSP x {kind}"), here.get(f"TP x {kind}")
            cells += _against(*pair)
        bytes_ = moved(llama(), tokens, 8)
        more = f"{bytes_['TSP'] / bytes_['TP']:.2f}"
        yield _row(str(nodes), _kilo(sequence), _kilo(tokens), *cells, more)


def _against(tsp: Point | None, tp: Point | None) -> list[str]:
    if tsp is None or tp is None:
        return ["", ""]
    late = [p.layout.split()[0] for p in (tsp, tp) if not p.fits]
    unfit = f" ({' and '.join(late)} too large)" if late else ""
    return [str(tsp.micro_batches), told(tsp, tp) + unfit]


def best(found: Sequence[Point]) -> Iterator[str]:
    """Yield the best that fits of every layout, or its smallest where none does."""
    yield _row("nodes", "sequence", "layout", "mesh", "micro-batches", "step time (80 %)",
               "bubble", "exposed", "peak memory", "rate against the first")  # fmt: skip
    yield "|---:|---:|---|---|---:|---:|---:|---:|---:|---:|"
    for place in sorted({p[:2] for p in found}, key=lambda p: (p[1], p[0])):
        here = [p for p in found if p[:2] == place and p.schedule in ("", "1f1b")]
        chosen = sorted((_best_of(here, layout) for layout in LAYOUTS), key=_rank)
        for point in chosen:
            yield _line(point, chosen[0])


def schedules(found: Sequence[Point]) -> Iterator[str]:
    """Yield the schedules at one number of micro-batches."""
    yield _row("layout", "schedule", "step time (80 %)", "bubble", "exposed", "peak memory")
    yield "|---|---|---:|---:|---:|---:|"
    some = [p for p in found if p[:2] == PANELS[0] and p.micro_batches == 8 and p.schedule]
    for point in sorted(some, key=lambda p: (p.layout, p.schedule), reverse=True):
        yield _row(point.layout, f"`{point.schedule}`", *_cells(point))


def _best_of(some: Sequence[Point], layout: str) -> Point:
    return min((p for p in some if p.layout == layout), key=_rank)


def _rank(point: Point) -> tuple[bool, float]:
    """Order what fits by speed, and the rest behind it by memory."""
    return not point.fits, -point.rate if point.fits else point.figures["memory.peak"]


def _line(point: Point, first: Point) -> str:
    against = "" if point is first else told(point, first)
    names = point.layout, point.mesh, str(point.micro_batches)
    return _row(str(point.nodes), _kilo(point.sequence), *names, *_cells(point), against)


def table(rows: Sequence[Mapping[str, str]]) -> Iterator[str]:
    """Yield the tables of the page."""
    found = points(rows)
    for title, part in (
        ("TSP against TP, by the size of a micro-batch", turns),
        ("The best of every layout", best),
        ("Schedules: 8 nodes, 32K, eight micro-batches of 128K tokens", schedules),
    ):
        yield f"\n**{title}**\n"
        yield from part(found)
    yield ""


@cache
def llama() -> ModelShape:
    """Return the shape of the study's model."""
    study = Path(__file__).parent.parent.parent / "scenarios" / "studies" / "tsp-pipeline.yaml"
    return studies.load(study).opened.scenario().model


# ---- picture -------------------------------------------------------------------------------------


def draw(rows: Sequence[Mapping[str, str]], path: Path) -> None:
    """Draw rates over the tokens of a micro-batch, and those of the long sequence as bars."""
    found = points(rows)
    figure = Figure(figsize=(13, 3.9), layout="constrained")
    panels = figure.subplots(1, 4)
    for ax, place in zip(panels, PANELS, strict=False):
        _lines(ax, [p for p in found if p[:2] == place and p.schedule in ("", "1f1b")])
    for ax in panels[:3]:  # rates are compared across the panels
        ax.set_ylim(0, 1.05 * max(p.rate for p in found if p[:2] in PANELS))
    panels[0].set_ylabel("tokens/s per device")
    _bars(panels[3], [p for p in found if p.sequence == LONG])
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.savefig(path, dpi=110)


def _lines(ax: Axes, some: Sequence[Point]) -> None:
    for layout, (colour, dashes) in LAYOUTS.items():
        series = sorted((p for p in some if p.layout == layout), key=lambda p: p.tokens)
        fit, unfit = ([p for p in series if p.fits is fits] for fits in (True, False))
        xs, ys = [p.tokens for p in fit], [p.rate for p in fit]
        ax.plot(xs, ys, dashes, color=colour, marker="o", ms=4, label=layout)
        ax.plot([p.tokens for p in unfit], [p.rate for p in unfit], "x", color=colour, ms=6)
    ax.plot([], [], "x", color=GREY, label="does not fit in memory")
    ax.axvline(equal(llama()), color=GREY, ls=":", label="TSP and TP move as many bytes")
    ax.set_xscale("log", base=2)
    ticks = sorted({p.tokens for p in some})
    ax.set_xticks(ticks, [_kilo(each) for each in ticks])
    ax.set_xlabel("tokens of a micro-batch")
    title = f"sequences of {_kilo(some[0].sequence)}, {some[0].nodes} nodes"
    ax.set_title(title, loc="left", fontsize=10)


def _bars(ax: Axes, some: Sequence[Point]) -> None:
    """Draw the best of every layout, in the order of the legend, 8 nodes above 32."""
    for above, nodes in ((5, 8), (0, 32)):
        here = [p for p in some if p.nodes == nodes]
        for place, layout in enumerate(reversed(LAYOUTS), above):
            _bar(ax, place, _best_of(here, layout))
    ax.set_yticks([1.5, 6.5], ["32 nodes", "8 nodes"], rotation=90, va="center")
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("tokens/s per device")
    ax.set_title(f"sequences of {_kilo(LONG)}, best micro-batches", loc="left", fontsize=10)


def _bar(ax: Axes, place: int, point: Point) -> None:
    colour, dashes = LAYOUTS[point.layout]
    face = (colour if dashes == "-" else "white") if point.fits else "none"
    edge = colour if point.fits else GREY
    ax.barh(place, point.rate, facecolor=face, edgecolor=edge, ls=dashes, lw=1.5)
    name = point.layout if point.fits else f"{point.layout}: does not fit"
    ink = "white" if face == colour else DARK
    ax.text(1, place, name, va="center", fontsize=8, color=ink)
