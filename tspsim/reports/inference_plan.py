"""The answer to a plan of inference: what every strategy serves, as a table, JSON and a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.files.numbers import plain
from tspsim.output.units import size, time, time_unit
from tspsim.plan.inference import Asked, Served, Trial

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Of one strategy after another.
MARKERS = "os^Dv<>P"
#: Seconds of an hour, and tokens that a price is of.
_HOUR, _MILLION = 3600.0, 1e6


def mesh_name(served: Served) -> str:
    """Return the mesh, outermost axis first."""
    names = [(name, n) for name, n in served.strategy.mesh().axes if n > 1]
    return " x ".join(f"{name} {n}" for name, n in names) or "1 rank"


def dollars(trial: Trial, hourly: float | None) -> float | None:
    """Return dollars per million tokens; None where a device states no price."""
    return None if hourly is None else hourly / _HOUR / trial.rate * _MILLION


def render(asked: Asked, found: Sequence[Served], hourly: float | None) -> RenderableType:
    """Return the table: of every strategy the largest batch that does, and the longest context."""
    parts: list[RenderableType] = [Text(_title(asked)), _table(asked, found, hourly)]
    left = [each for each in found if each.largest is None]
    if left:
        parts += [Text(), _misses(left)]
    return Group(*parts)


def _title(asked: Asked) -> str:
    limits = [
        f"{what} at most {time(limit)}"
        for what, limit in (
            ("time to first token", asked.limits.first_token),
            ("time per token", asked.limits.per_token),
        )
        if limit is not None
    ]
    told = {"decode": "tokens cached", "prefill": "tokens of a prompt"}.get(asked.phase, "prompt")
    asks = "; ".join(limits) or "no limit but memory"
    return f"{asked.phase} with {asked.tokens:,} {told} a sequence; {asks}"


def _table(asked: Asked, found: Sequence[Served], hourly: float | None) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    table.add_column("strategy")
    table.add_column("mesh", no_wrap=True)
    names = ["largest batch", "time", "tok/s", *(["$/Mtok"] if hourly else []), "peak"]
    names += ["longest context"] if asked.longest else []
    for name in names:
        table.add_column(name, justify="right", no_wrap=True)
    for number, each in enumerate(e for e in found if e.largest):
        best = each.largest
        assert best is not None
        cells = [each.strategy.kind, mesh_name(each), f"{best.batch:,}", time(best.seconds)]
        cells.append(f"{best.rate:,.0f}")
        cost = dollars(best, hourly)
        cells += [plain(cost, 3)] if cost is not None else []
        cells.append(size(best.peak))
        if asked.longest:
            cells.append(f"{each.longest.tokens:,}" if each.longest else "none")
        table.add_row(*cells, style="" if number else "bold green")
    return table


def _misses(left: Sequence[Served]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 1, 0, 0))
    for name in ("does not do", "", ""):
        table.add_column(name)
    for each in left:
        table.add_row(f"  {each.strategy.kind}", mesh_name(each), _why(each))
    return table


def _why(each: Served) -> str:
    if each.reason:
        return each.reason
    first = each.trials[0]
    if not first.fits:
        return f"one sequence a replica needs {size(first.peak)}"
    return f"one sequence a replica takes {time(first.seconds)}"


def to_dict(asked: Asked, found: Sequence[Served], hourly: float | None) -> dict[str, Any]:
    """Return the answer as a JSON-able mapping, in SI units."""
    return {
        "phase": asked.phase,
        "tokens": asked.tokens,
        "limits": asdict(asked.limits),
        "served": [
            {
                "strategy": each.strategy.model_dump(mode="json", exclude_defaults=True)
                | {"kind": each.strategy.kind},
                "mesh": mesh_name(each),
                "reason": each.reason,
                "largest": _trial(each.largest, hourly),
                "longest": _trial(each.longest, hourly),
                "front": [_trial(trial, hourly) for trial in each.front],
            }
            for each in found
        ],
    }


def _trial(trial: Trial | None, hourly: float | None) -> dict[str, Any] | None:
    return None if trial is None else asdict(trial) | {"dollars": dollars(trial, hourly)}


def plot(asked: Asked, found: Sequence[Served], ax: Axes | None = None) -> Axes:
    """Draw time against tokens a second, a line for every strategy's batches that do.

    Parameters
    ----------
    asked : Asked
    found : sequence of Served
    ax : Axes, optional
        Where to draw; a new figure when not given.
    """
    from matplotlib.ticker import FuncFormatter  # a table needs no matplotlib

    from tspsim.output.plots.style import axes

    ax = axes(ax, 8.0, 5.0)
    drawn = [each for each in found if each.front]
    times = [trial.seconds for each in drawn for trial in each.front]
    scale, unit = time_unit(max(times, default=1.0))
    for number, each in enumerate(drawn):
        points = [(trial.seconds / scale, trial.rate) for trial in each.front]
        marker = MARKERS[number % len(MARKERS)]
        label = f"{each.strategy.kind}: {mesh_name(each)}"
        ax.plot(*zip(*points, strict=True), marker=marker, ms=5, lw=1.4, label=label)
    ax.set_yscale("log")
    for formatter in (ax.yaxis.set_major_formatter, ax.yaxis.set_minor_formatter):
        formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if _lead(value) else ""))
    ax.set_xlim(left=0)
    ax.grid(alpha=0.3, which="major")
    what = "time to first token" if asked.phase == "prefill" else "time per token"
    ax.set_xlabel(f"{what} [{unit}]; left is quicker")
    ax.set_ylabel("tokens/s of all devices; up is more")
    ax.set_title(_title(asked), loc="left", fontsize=10)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return ax


def _lead(value: float) -> bool:
    """Whether a number is written on an axis: 1, 2 and 5 of every power of ten."""
    return f"{value:.0e}"[0] in "125"
