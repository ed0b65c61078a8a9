"""What the study of experts adds to the others: tables, a winner map, a layer drawn."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch, Rectangle

import tspsim
from studies.expert_points import (
    MACHINES,
    MODELS,
    STUDY,
    TRAINED,
    Point,
    equal_bytes,
    equal_times,
    experts,
    fastest,
    lead,
    near,
    points,
    rates,
    turn,
)
from tspsim.output.plots.style import BLUE, DARK, GREY, ORANGE, PURPLE, SKY, YELLOW
from tspsim.reports import stacked
from tspsim.routing import Routing

if TYPE_CHECKING:
    from tspsim.result import Result

#: Layouts as the page calls them: those in which tokens travel, and those of the ring.
TOKENS, RING = ("tokens", "tensor"), ("ring",)
COLOURS = {
    "tokens": BLUE, "tokens, once": SKY, "tokens, 4 pieces": "#7C9CC9",
    "ring": ORANGE, "ring, columns": YELLOW, "tensor": PURPLE,
}  # fmt: skip
#: What stands for them in a cell: in print without colour it tells.
SHORT = {
    "tokens": "T", "tokens, once": "T1", "tokens, 4 pieces": "T4",
    "ring": "R", "ring, columns": "RC", "tensor": "X",
}  # fmt: skip
#: Tokens of a rank at which all layouts are listed.
SHOWN = 16384
#: The layer that is drawn: of OLMoE on eight H100, so many sequences of 8K.
DRAWN = ("workload.phase=forward", "workload.batch=8")
#: Marks of the closed forms.
FORMS = ("D", "o")
#: Percent below which a lead is a draw: what published steps of dense models on H100 say of two
#: times (``told_apart``); of experts there are none.
DRAW = 6
#: Inches.
WIDTH, ROW = 13.5, 0.33

Row = Mapping[str, str]


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def told(count: float | None, least: float = 1024) -> str:
    """Return a number of tokens, or that there is none."""
    if count is None:
        return "nowhere"
    if math.isnan(count):
        return ""
    if not count:
        return f"below {least / 1024:.0f}K"
    return f"{count / 1024:.1f}K" if count < 10240 else f"{count / 1024:.0f}K"


def places(found: Sequence[Point]) -> list[tuple[str, str]]:
    """Return the machines and models that there are, in the order of the page."""
    there = {point[:2] for point in found}
    return [(machine, model) for machine in MACHINES.values() for model in MODELS.values()
            if (machine, model) in there]  # fmt: skip


# ---- tables --------------------------------------------------------------------------------------


def crossing(some: Sequence[Point], phase: str, *, skewed: bool = False) -> float | None:
    """Return from how many tokens of a rank on the best ring beats the best of tokens."""
    part = [p for p in some if p.phase == phase and p.skewed == skewed]
    return turn(fastest(part, *RING), fastest(part, *TOKENS)) if part else math.nan


def clear(some: Sequence[Point], *, skewed: bool = False) -> int | None:
    """Return the first tokens of a rank, of those run, from which on the ring's lead is no draw."""
    part = [p for p in some if p.phase == "train" and p.skewed == skewed]
    ring, tokens = fastest(part, *RING), fastest(part, *TOKENS)
    draws = [n for n in ring if 100 * lead(ring[n], tokens[n]) < DRAW]
    return next((n for n in ring if n > max(draws, default=0)), None)


def busiest(model: str, degree: int) -> float:
    """Return the load of the busiest rank of experts under the study's skew, of the mean."""
    count = experts(model).count
    shares = Routing("power_law", exponent=0.5).shares(0, count)
    each = count // degree
    return max(sum(shares[i : i + each]) for i in range(0, count, each)) * degree


def turns(found: Sequence[Point]) -> Iterator[str]:
    """Yield where the ring overtakes tokens: by bytes, by peak rates, and simulated."""
    yield _row("machine", "model", "bytes, forward", "bytes, trained", "peak rates, trained",
               "simulated, forward", "simulated, trained", "simulated, trained, skewed",
               "busiest rank, skewed", "peak memory there, tokens and ring")  # fmt: skip
    yield "|---|---|" + "---:|" * 8
    for machine, model in places(found):
        some = [p for p in found if p[:2] == (machine, model)]
        mine, degree = experts(model), int(machine.split()[0])
        forms = (equal_bytes(mine), equal_bytes(mine, TRAINED),
                 equal_times(mine, TRAINED, rates(machine)))  # fmt: skip
        there = crossing(some, "train")
        cells = [*map(told, forms), told(crossing(some, "forward"))]
        cells += [_turned(some, skewed=skewed) for skewed in (False, True)]
        load = f"{busiest(model, degree):.2f}" if cells[-1] else ""
        yield _row(machine, model, *cells, load, _memory(some, there))


def _turned(some: Sequence[Point], *, skewed: bool) -> str:
    """Return a crossing, and from where on the lead is no draw."""
    found = crossing(some, "train", skewed=skewed)
    if found is None or math.isnan(found):
        return told(found)
    return f"{told(found)} ({told(clear(some, skewed=skewed))})"


def _memory(some: Sequence[Point], there: float | None) -> str:
    """Return the peaks of both at the run that is nearest to a crossing."""
    if not there:
        return ""
    part = [p for p in some if p.phase == "train" and not p.skewed]
    both = [near(fastest(part, *kind), there) for kind in (TOKENS, RING)]
    peaks = [f"{p.peak / 2**30:.0f}{'' if p.fits else ' (too much)'}" for p in both]
    return f"{' and '.join(peaks)} GiB"


def listed(found: Sequence[Point]) -> Iterator[str]:
    """Yield the step times of all layouts at one number of tokens."""
    yield _row("machine", "model", *COLOURS)
    yield "|---|---|" + "---:|" * len(COLOURS)
    for machine, model in places(found):
        here = {p.layout: p for p in found if p[:2] == (machine, model)
                if p.tokens == SHOWN and p.phase == "train" and not p.skewed}  # fmt: skip
        best = min(p.step for p in here.values())
        yield _row(machine, model, *(_step(here.get(name), best) for name in COLOURS))


def _step(point: Point | None, best: float) -> str:
    if point is None:
        return ""
    text = f"{point.step * 1e3:.1f}"
    return f"**{text}**" if point.step == best else text


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield the tables of the page."""
    found = points(rows)
    for title, part in (
        ("Tokens of a rank from which on weights on the ring are faster", turns),
        (f"Milliseconds of a trained layer at {SHOWN // 1024}K tokens of a rank, balanced", listed),
    ):
        yield f"\n**{title}**\n"
        yield from part(found)
    yield ""


# ---- the winner map ------------------------------------------------------------------------------


def draw(rows: Sequence[Row], path: Path) -> None:
    """Draw who is fastest over the tokens of a rank, balanced and skewed."""
    found = [p for p in points(rows) if p.phase == "train"]
    order = places(found)
    figure = Figure(figsize=(WIDTH, ROW * len(order) + 1.9), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for ax, skewed in zip(panels, (False, True), strict=True):
        for place, (machine, model) in enumerate(order):
            some = [p for p in found if p[:2] == (machine, model) and p.skewed == skewed]
            if some:
                _cells(ax, place, some)
                _forms(ax, place, machine, model)
            else:
                ax.text(13.5, place, "not run", ha="center", va="center", fontsize=8, color=DARK)
        _axes(ax, order, sorted({p.tokens for p in found}))
        ax.set_title("skewed routing" if skewed else "balanced routing", loc="left", fontsize=10)
    shown = {c for ax in panels for c in (p.get_facecolor()[:3] for p in ax.patches)}
    title = (
        "the fastest layout, and its lead in % over the best of the other side, ring or tokens (≈: "
        "a draw); marks: where both sides are equal in closed form"
    )
    figure.legend(handles=_legend(shown), loc="outside lower center", ncols=9, frameon=False,
                  fontsize=9, title=title, title_fontsize=9)  # fmt: skip
    figure.savefig(path, dpi=110)


def _cells(ax: Axes, place: int, some: Sequence[Point]) -> None:
    """Draw a row: colour of the fastest, and its lead over the best of the other side."""
    ring, tokens = fastest(some, *RING), fastest(some, *TOKENS)
    for count in sorted(ring.keys() & tokens.keys()):
        ahead = lead(ring[count], tokens[count])
        best = ring[count] if ahead > 0 else tokens[count]
        left = math.log2(count) - 0.5
        hatch = None if best.fits else "////"
        ax.add_patch(Rectangle((left, place - 0.5), 1, 1, facecolor=COLOURS[best.layout],
                               edgecolor="white", hatch=hatch, lw=0.8))  # fmt: skip
        gap = 100 * (ahead if ahead > 0 else 1 / (1 + ahead) - 1)
        ink = "white" if best.layout == "tokens" else "black"
        text = f"{SHORT[best.layout]} {'≈ ' if gap < DRAW else ''}{gap:,.0f}"
        ax.text(left + 0.5, place, text, ha="center", va="center", fontsize=8, color=ink)


def _forms(ax: Axes, place: int, machine: str, model: str) -> None:
    """Mark the closed forms of a row, by bytes and by peak rates, at its upper and lower edge."""
    mine = experts(model)
    by_rates = equal_times(mine, TRAINED, rates(machine))
    for count, marker in ((equal_bytes(mine, TRAINED), FORMS[0]), (by_rates, FORMS[1])):
        where = math.log2(count)
        ax.plot([where, where], [place - 0.4, place + 0.4], ls="", marker=marker, ms=5,
                color="black")  # fmt: skip


def _axes(ax: Axes, order: Sequence[tuple[str, str]], counts: Sequence[int]) -> None:
    ends = [math.log2(count) for count in counts]
    ax.set_xlim(ends[0] - 0.5, ends[-1] + 0.5)
    ax.set_ylim(len(order) - 0.5, -0.5)
    ax.set_xticks(ends, [f"{count // 1024}K" for count in counts])
    ax.set_yticks(range(len(order)), [f"{model}, {machine}" for machine, model in order])
    ax.set_xlabel("tokens of a rank")
    ax.tick_params(length=0, labelsize=9)
    for place in range(1, len(order)):
        if order[place][0] != order[place - 1][0]:
            ax.axhline(place - 0.5, color=DARK, lw=1.5)
    ax.spines[:].set_visible(False)


def _legend(shown: set[tuple[float, ...]]) -> list[Patch | Line2D]:
    """Return entries for what is seen."""
    looks = COLOURS.items()
    patches = [Patch(facecolor=c, label=f"{SHORT[name]}: {name}") for name, c in looks]
    seen: list[Patch | Line2D] = [p for p in patches if p.get_facecolor()[:3] in shown]
    seen.append(Patch(facecolor="white", edgecolor=GREY, hatch="////", label="does not fit"))
    for marker, name in zip(FORMS, ("as many bytes", "as long at peak rates"), strict=True):
        seen.append(Line2D([], [], color="black", ls="", marker=marker, ms=5, label=name))
    return seen


# ---- a layer -------------------------------------------------------------------------------------


@cache
def layer(layout: str) -> Result:
    """Return the run of the layer that is drawn."""
    from tspsim.sweeps import study as studies

    opened = studies.load(STUDY).opened
    return tspsim.run(opened.scenario((*DRAWN, f"strategy.experts={{layout: {layout}}}")))


def draw_layer(path: Path) -> None:
    """Draw one layer with tokens and with weights travelling, on one time axis."""
    names = ("tokens travel", "experts travel")
    stacked.draw(layer("tokens"), layer("ring"), names, path)
