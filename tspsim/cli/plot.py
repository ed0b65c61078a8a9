"""``tspsim plot``: pictures of a result, and maps of a sweep."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from tspsim.cli.guard import guarded, say

#: What is drawn of a run and of what explains it.
WHY = "why"


@guarded
def plot(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A scenario as for 'run', or a folder that 'run -o' or 'sweep -o' wrote.",
        ),
    ],
    kind: Annotated[
        str,
        typer.Option(
            "--kind",
            help="Of a run: gantt, why, memory, pipeline, links, roofline... Of a sweep: lines, "
            "heatmap, winner, pareto.",
            show_default=False,
        ),
    ] = "",
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes of a scenario, as for 'run'.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="png, svg, pdf or html [default: KIND.png in the folder; of a scenario: here].",
        ),
    ] = None,
    window: Annotated[
        str | None,
        typer.Option(
            metavar="START:END", help="gantt, pipeline: a stretch, '400 ms:430 ms', or 'all'."
        ),
    ] = None,
    layers: Annotated[
        str | None, typer.Option(metavar="FIRST:LAST", help="gantt: the forward of some layers.")
    ] = None,
    ranks: Annotated[
        str | None, typer.Option(metavar="R,R...", help="gantt: which ranks, top to bottom.")
    ] = None,
    rank: Annotated[
        str | None, typer.Option(metavar="R", help="memory, roofline: which rank.")
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(metavar="WIDTH", help="For print: 'column' (3.35 in) or 'page' (7 in)."),
    ] = None,
    x: Annotated[
        str | None, typer.Option("--x", metavar="KEY", help="Maps: the axis along the page.")
    ] = None,
    y: Annotated[
        str | None,
        typer.Option("--y", metavar="KEY", help="heatmap, winner: the axis up the page."),
    ] = None,
    value: Annotated[
        str | None, typer.Option(metavar="FIGURE", help="Maps: a column of the sweep's table.")
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(metavar="KEY,KEY...", help="lines, winner, pareto: what is told apart."),
    ] = None,
    at: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Maps: the value of an axis that is not shown."),
    ] = None,
) -> None:
    """Draw a run, the whole or the part that is asked for, or a map of a sweep."""
    from tspsim.cli.simulated import refuse_changes
    from tspsim.files.reading import is_folder

    folder = Path(source)
    target = output or (folder if is_folder(folder) else Path()) / f"{kind}.png"
    of_run = {"window": window, "layers": layers, "ranks": ranks, "rank": rank}
    of_sweep: dict[str, Any] = {"x": x, "y": y, "value": value, "by": by, "at": at}
    given = {name: told for name, told in (of_run | of_sweep).items() if told}
    if _is_sweep(folder, kind):
        refuse_changes(source, overrides)
        _map(folder, kind, target, width, given)
    else:
        _plot(source, overrides or (), kind, target, width, given)
    say(f"wrote {target}")


def _is_sweep(directory: Path, kind: str) -> bool:
    """Say whether a folder holds a sweep; refuse a kind that is none of what it holds."""
    from tspsim.files.errors import UnknownNameError, UserError
    from tspsim.files.reading import is_there
    from tspsim.registry import MAPS, PLOTS
    from tspsim.sweeps.store import FILE

    of_run, sweep = sorted((*PLOTS.names(), WHY)), is_there(directory / FILE)
    if not kind:
        what, there = ("sweep", MAPS.names()) if sweep else ("run", of_run)
        raise UserError(f"no --kind: of a {what} there are: {', '.join(there)}")
    if kind not in (*of_run, *MAPS.names()):
        # an unknown name is told before anything is simulated
        raise UnknownNameError("plot", kind, (*of_run, *MAPS.names()))
    if sweep and kind not in MAPS.names():
        raise UserError(
            f"{directory}: holds a sweep, and '{kind}' is a picture of one run; of a sweep there "
            f"are: {', '.join(MAPS.names())}"
        )
    if not sweep and kind not in of_run:
        raise UserError(
            f"{directory}: holds no sweep, and '{kind}' is a map of one ('tspsim sweep SCENARIO "
            f"KEY=VALUES -o DIR' makes it); of a run there are: {', '.join(of_run)}"
        )
    return sweep


def _plot(
    source: str,
    overrides: Sequence[str],
    kind: str,
    target: Path,
    width: str | None,
    given: dict[str, Any],
) -> None:
    from tspsim.cli.plot_options import plot_options
    from tspsim.cli.simulated import simulated
    from tspsim.explain.why import why
    from tspsim.files.errors import UserError
    from tspsim.output.pictures import check, check_options, draw, inches
    from tspsim.reports import waterfall

    check(target)
    inches(width)
    if kind == WHY and given:
        raise UserError(f"a {WHY} plot has no {' and no '.join(given)} to choose")
    if kind != WHY:
        check_options(kind, given)
    result = simulated(source, overrides)
    if kind == WHY:
        waterfall.draw(result, why(result), target, width)
    else:
        draw(kind, result, target, width=width, **plot_options(given))


def _map(
    directory: Path, kind: str, target: Path, width: str | None, given: dict[str, Any]
) -> None:
    from tspsim.reports.maps.drawing import draw
    from tspsim.sweeps.store import Store

    if "at" in given:
        given["at"] = dict(map(_value, given["at"]))
    draw(kind, Store.open(directory), target, width=width, **given)


def _value(text: str) -> tuple[str, Any]:
    """Return the key and the value of ``KEY=VALUE``."""
    from tspsim.files.errors import UserError
    from tspsim.sweeps.study import parse_axis

    axis = parse_axis(text)
    if len(axis.values) != 1:
        raise UserError(f"--at {text}: one value, such as --at workload.sequence=131072")
    return axis.key, axis.values[0]
