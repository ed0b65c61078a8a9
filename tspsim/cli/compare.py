"""``tspsim compare``: candidates side by side and the winner; or a run beside its traces."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tspsim.cli.guard import guarded, say, show, show_json

if TYPE_CHECKING:
    from tspsim.sweeps.candidates import Candidate


@guarded
def compare(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SCENARIO... [TRACE...] [KEY=VALUES...]",
            help="Scenarios or folders of results, and what varies: strategy=tsp,tp,sp,tp_sp. Or "
            "one of them, and what torch.profiler exported of its run: files, one a rank, or a "
            "folder of them.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Draw the winner and the second, or the two that there are, on one time axis; "
            "the measured step above the simulated one.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")] = False,
) -> None:
    """Compare strategies, scenarios or results: one table, the winner, and why it wins.

    With traces of a run: what was measured beside what is predicted, kind by kind.
    """
    from tspsim.traces.files import is_trace

    traces = [text for text in sources if is_trace(text)]
    if traces:
        _beside([text for text in sources if text not in traces], traces, output, json)
    else:
        _candidates(sources, output, json)


def _candidates(sources: list[str], output: Path | None, as_json: bool) -> None:
    """Run candidates, and say which is the fastest that fits."""
    from tspsim.cli.progress import progress
    from tspsim.output import pictures
    from tspsim.reports import comparison
    from tspsim.sweeps.candidates import candidates, pair
    from tspsim.sweeps.difference import difference
    from tspsim.sweeps.study import apart

    names, axes = apart(sources)
    if output is not None:
        pictures.check(output)
    with progress("comparing") as advance:
        found = candidates(names, axes, advance)
    two = pair(found)
    told = difference(two[0].done, two[1].done) if two and len(found) == 2 else None
    if as_json:
        more = {"difference": told.to_dict()} if told else {}
        show_json(comparison.to_dict(found) | more)
    else:
        show(comparison.render(found))
        if two and told:
            show(comparison.render_difference(told, (two[0].name, two[1].name)))
    if output is not None:
        _draw(two, output)


def _draw(two: tuple[Candidate, Candidate] | None, output: Path) -> None:
    from tspsim.files.errors import UserError
    from tspsim.reports import stacked

    if two is None:
        raise UserError("a picture needs two candidates that can run")
    stacked.draw(two[0].done, two[1].done, (two[0].name, two[1].name), output)
    say(f"wrote {output}")


def _beside(rest: list[str], traces: list[str], output: Path | None, as_json: bool) -> None:
    """Lay traces beside the run of the one scenario among the rest."""
    from tspsim.files.errors import UserError
    from tspsim.output import pictures
    from tspsim.reports import beside_table
    from tspsim.reports.beside import compare_trace
    from tspsim.sweeps.study import is_axis

    names = [text for text in rest if not is_axis(text)]
    if len(names) != 1:
        told = "beside traces stands one scenario or folder of a result"
        raise UserError(f"{told}, found {', '.join(names) or 'none'}")
    if output is not None:
        pictures.check(output)
    found = compare_trace(names[0], traces, *(text for text in rest if is_axis(text)))
    show_json(beside_table.to_dict(found)) if as_json else show(beside_table.render(found))
    if output is not None:
        found.save(output)
        say(f"wrote {output}")
