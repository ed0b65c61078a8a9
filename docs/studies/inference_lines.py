"""What the study of inference adds to the others: tables and winner maps."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from studies.inference_points import (
    MACHINES,
    MODELS,
    Point,
    cut_pays,
    decoding,
    fastest,
    held,
    lead,
    memory_bandwidth,
    met,
    most_sequences,
    points,
    prompts,
    received,
    shape,
)
from tspsim.output.plots.style import BLUE, DARK, ORANGE, PALE_GREY, PURPLE, SKY, YELLOW
from tspsim.reports.maps.scale import tokens as kilo

#: Layouts of decode, and of prompts, as the page calls them.
DECODE = ("TP", "TP 4 x SP 2", "TP 2 x SP 4", "SP", "TSP, stays", "TSP, travels")
PREFILL = ("TP", "TP 4 x SP 2", "TP 2 x SP 4", "SP", "SP, ring", "SP, queries",
           "TSP, travels", "TSP, travels, queries", "TSP, stays")  # fmt: skip
COLOURS = {
    "TP": BLUE, "TP 4 x SP 2": "#7C9CC9", "TP 2 x SP 4": SKY, "SP": PURPLE, "SP, ring": PURPLE,
    "SP, queries": PURPLE, "TSP, stays": ORANGE, "TSP, travels": YELLOW,
    "TSP, travels, queries": YELLOW,
}  # fmt: skip
#: Percent below which a lead is a draw: measured rows of decode attention are off by as much.
DRAW = 5
BATCHES = (1, 4, 16, 64, 256)
SHOWN = (1, 16, 256)

Row = Mapping[str, str]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _head(names: Sequence[str], layouts: Sequence[str]) -> Iterator[str]:
    yield _row(*names, *layouts)
    yield "|---|---|" + "---:|" * (len(names) + len(layouts) - 2)


def at(found: Sequence[Point], **fixed: object) -> list[Point]:
    """Return the points with some attributes."""
    return [p for p in found if all(getattr(p, name) == said for name, said in fixed.items())]


def _places(found: Sequence[Point]) -> Iterator[tuple[str, str, list[Point]]]:
    """Yield machine, model and their points, in the order of the page."""
    for machine in MACHINES.values():
        for model in MODELS:
            some = at(found, machine=machine, model=model)
            if some:
                yield machine, model, some


# ---- tables --------------------------------------------------------------------------------------


def moved_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield what closed forms say of a layer: bytes received, and bytes cached, per token."""
    del found
    names = ("Llama-3-8B", "Llama-3-70B", "70B, 2 K/V heads")
    yield _row("layout", *(f"{name}: received, cached" for name in names))
    yield "|---|" + "---:|" * len(names)
    for layout in DECODE[:-1]:
        cells = (
            f"{received(model, layout, 1) / 1024:.1f}, {held(model, layout):,.0f} B"
            for model in map(shape, names)
        )
        yield _row(layout, *cells)


def tokens_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield milliseconds per token, where one layout or more fits."""
    yield from _head(("machine", "model", "cached", "sequences"), DECODE)
    for machine, model, some in _places(decoding(found)):
        for cached in sorted({p.tokens for p in some}):
            for batch in SHOWN:
                here = at(some, tokens=cached, batch=batch)
                if fastest(here):
                    names = machine, model, kilo(cached), str(batch)
                    yield _row(*names, *_cells(here, DECODE, 1e3))


def _cells(here: Sequence[Point], layouts: Sequence[str], scale: float) -> Iterator[str]:
    """Yield a time for every layout, the fastest in bold; none where it does not fit."""
    best = fastest(here)
    for layout in layouts:
        (point,) = at(here, layout=layout)
        time = point.seconds * scale
        text = f"{time:.0f}" if time >= 100 else f"{time:.1f}" if time >= 10 else f"{time:.2f}"
        yield "no room" if not point.fits else f"**{text}**" if point is best else text


def room_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield how many sequences fit."""
    yield from _head(("machine", "model", "cached"), DECODE[:-1])
    for machine, model, some in _places(decoding(found)):
        for cached in sorted({p.tokens for p in some}):
            here = at(some, tokens=cached)
            most = (most_sequences(at(here, layout=layout)) for layout in DECODE[:-1])
            yield _row(machine, model, kilo(cached), *(f"{count:,}" for count in most))


def prompts_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield seconds to the first token of prompts of which nothing is cached."""
    yield from _head(("machine", "model", "prompt", "by"), PREFILL)
    for machine, model, some in _places(prompts(found)):
        for length, chunk in sorted({(p.tokens, -p.chunk) for p in some}):
            here = at(some, tokens=length, chunk=-chunk)
            by = "whole" if length == -chunk else kilo(-chunk)
            yield _row(machine, model, kilo(length), by, *_cells(here, PREFILL, 1))


def peaks_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield peaks of prompts of 1M in GiB, and the share of the last step that is exposed."""
    layouts = [name for name in PREFILL if name not in ("SP, ring", "TSP, travels, queries")]
    yield from _head(("machine", "model", "by"), layouts)
    for machine, model, some in _places(prompts(found)):
        longest = max(p.tokens for p in some)
        for chunk in sorted({p.chunk for p in at(some, tokens=longest)}, reverse=True):
            here = [at(some, tokens=longest, chunk=chunk, layout=name)[0] for name in layouts]
            cells = (f"{p.peak / 2**30:.0f}, {100 * p.exposed:.1f} %" for p in here)
            yield _row(machine, model, "whole" if chunk == longest else kilo(chunk), *cells)


def passed_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield how much longer SP takes when queries pass, by what of a prompt is new."""
    some = prompts(found, cached=True)
    new = sorted({p.tokens - p.cached for p in some})
    yield from _head(("machine", "model", "against"), [f"{100 * n / 131072:.1f} %" for n in new])
    for machine, model, here in _places(some):
        for other in ("SP", "SP, ring"):
            cells = (f"{100 * longer(here, n, other):+.0f} %" for n in new)
            yield _row(machine, model, "ring" if "ring" in other else "all-gather", *cells)


def longer(some: Sequence[Point], new: int, other: str) -> float:
    """Return how much longer queries take than keys and values, of a prompt with so many new."""
    here = {p.layout: p.seconds for p in some if p.tokens - p.cached == new}
    return here["SP, queries"] / here[other] - 1


def cut_table(found: Sequence[Point]) -> Iterator[str]:
    """Yield from how many cached tokens of a sequence on TSP decodes faster than TP."""
    yield _row("machine", "sequences", "TSP behind TP with 8 heads", "closed form", "simulated")
    yield "|---|---:|---:|---:|---:|"
    for machine in MACHINES.values():
        for batch in BATCHES[:4]:
            turn, behind = turns(found, machine, batch)
            form = cut_pays(shape("70B, 2 K/V heads"), memory_bandwidth(machine), behind) / batch
            yield _row(machine, str(batch), f"{behind * 1e3:.2f} ms", _told(form), _told(turn))


def turns(found: Sequence[Point], machine: str, batch: int) -> tuple[float | None, float]:
    """Return from how much cached on TSP beats TP with 2 heads, and what it is behind with 8."""
    some = at(decoding(found), machine=machine, batch=batch)
    few = at(some, model="70B, 2 K/V heads")
    whole = {p.layout: p.seconds for p in at(some, model="Llama-3-70B", tokens=8192)}
    turn = met(at(few, layout="TSP, stays"), at(few, layout="TP"))
    return turn, whole["TSP, stays"] - whole["TP"]


def _told(count: float | None) -> str:
    if count is None:
        return "nowhere"
    return f"{count / 1024:.1f}K" if count else "below 8K"


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the page."""
    found = points(rows)
    for title, part in (
        ("KiB that a rank receives, and bytes that it caches, for a token in a layer", moved_table),
        ("Milliseconds per token", tokens_table),
        ("Sequences that fit", room_table),
        ("Cached tokens of a sequence from which on TSP decodes faster: 70B with 2 key/value heads",
         cut_table),
        ("Seconds to the first token", prompts_table),
        ("Peak memory in GiB of a prompt of 1M tokens, and exposed communication of its last step",
         peaks_table),
        ("Prompts of 128K of which a part is new: how much longer SP takes with queries passed",
         passed_table),
    ):  # fmt: skip
        yield f"\n**{title}**\n"
        yield from part(found)
    yield ""


# ---- winner maps ---------------------------------------------------------------------------------


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw who gives the next token first, by sequences and what each has cached."""
    found = decoding(points(rows))
    figure = Figure(figsize=(15, 6.2), layout="constrained")
    panels = figure.subplots(len(MACHINES), len(MODELS), sharex=True, sharey=True)
    for ax, (machine, model, some) in zip(panels.flat, _places(found), strict=True):
        lengths = sorted({p.tokens for p in some})
        for y, cached in enumerate(lengths):
            for x, batch in enumerate(BATCHES):
                _cell(ax, x, y, at(some, tokens=cached, batch=batch), 1e3)
        _axes(ax, [str(b) for b in BATCHES], [kilo(n) for n in lengths])
        ax.set_title(f"{model}, {machine}", loc="left", fontsize=10)
    for ax in panels[-1]:
        ax.set_xlabel("sequences")
    for ax in panels[:, 0]:
        ax.set_ylabel("cached tokens of each")
    _finish(figure, panels.flat, path)


def draw_prompts(rows: Sequence[Row], path: Path) -> None:
    """Draw who gives the first token first, by prompt and by what of it is one step."""
    found = prompts(points(rows))
    figure = Figure(figsize=(11.5, 4.0), layout="constrained")
    ax = figure.subplots()
    work = sorted({(p.tokens, -p.chunk) for p in found})
    names = []
    for y, (machine, model, some) in enumerate(_places(found)):
        names.append(f"{model}, {machine}")
        for x, (length, chunk) in enumerate(work):
            _cell(ax, x, y, at(some, tokens=length, chunk=-chunk), 1)
    _axes(ax, [f"{kilo(n)}, {'whole' if n == -c else f'by {kilo(-c)}'}" for n, c in work], names)
    ax.set_xlabel("prompt, and the tokens of it that are one step")
    _finish(figure, [ax], path)


def _cell(ax: Axes, x: int, y: int, here: Sequence[Point], scale: float) -> None:
    """Draw a cell: colour of the fastest, its time and lead, and what does not fit."""
    best = fastest(here)
    colour = COLOURS[best.layout] if best else PALE_GREY
    ax.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=colour, edgecolor="white", lw=1))
    ink = "white" if colour == BLUE else "black"
    ax.text(x, y, _text(here, scale), ha="center", va="center", fontsize=7, color=ink)


def _text(here: Sequence[Point], scale: float) -> str:
    best = fastest(here)
    if best is None:
        return "no room" if here else "not run"
    ahead = 100 * lead(here)
    told = "alone" if math.isinf(ahead) else f"{'≈ ' if ahead < DRAW else ''}{ahead:.0f} %"
    time = f"{best.seconds * scale:.3g} {'ms' if scale > 1 else 's'}"
    name = best.kind.replace(" x ", "x")
    return "\n".join([name, time, told + " ?" * beyond(best), *_without(here)])


def beyond(point: Point) -> bool:
    """Whether times rest on kernels beyond the measured rows of them: the page says which."""
    few = point.model == "DeepSeek-V2-Lite" and point.batch < 16
    asked = point.phase == "decode" and (point.tokens > 131072 or few)
    return asked and point.machine == "8 H100"


def _without(here: Sequence[Point]) -> Iterator[str]:
    """Yield lines that name the strategies of which nothing fits."""
    kinds = dict.fromkeys(p.kind for p in here)
    names = [kind.replace(" x ", "x") for kind in kinds if not fastest(at(here, kind=kind))]
    if names:
        yield f"no {', '.join(names[:-1] or names)}"
    if names[1:]:
        yield f"or {names[-1]}"


def _axes(ax: Axes, columns: Sequence[str], rows: Sequence[str]) -> None:
    ax.set_xlim(-0.5, len(columns) - 0.5)
    ax.set_ylim(len(rows) - 0.5, -0.5)
    ax.set_xticks(range(len(columns)), columns)
    ax.set_yticks(range(len(rows)), rows)
    ax.tick_params(length=0, labelsize=8.5)
    ax.spines[:].set_visible(False)


def _finish(figure: Figure, panels: Sequence[Axes], path: Path) -> None:
    """Add a legend of what is seen, and write the picture."""
    seen = {patch.get_facecolor()[:3] for ax in panels for patch in ax.patches}
    told: dict[str, str] = {}
    for name, colour in COLOURS.items():
        told.setdefault(colour, name)
    patches = [Patch(facecolor=colour, label=name) for colour, name in told.items()]
    patches = [p for p in patches if p.get_facecolor()[:3] in seen]
    if to_rgba(PALE_GREY)[:3] in seen:
        patches.append(Patch(facecolor=PALE_GREY, label="nobody fits, or not run"))
    title = (
        "the fastest strategy: its time, and its lead over the best of another kind (≈: a draw; "
        "?: kernels beyond those measured); no TP: TP does not fit"
    )
    figure.legend(handles=patches, loc="outside lower center", ncols=9, frameon=False,
                  fontsize=9, labelcolor=DARK, title=title, title_fontsize=9)  # fmt: skip
    figure.savefig(path, dpi=110)
