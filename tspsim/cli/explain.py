"""``tspsim explain``: why a step takes as long as it does, and what would change that."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from tspsim.cli.guard import guarded, say, show, show_json
from tspsim.files.errors import OutputError

if TYPE_CHECKING:
    from tspsim.explain.explanation import WhatIf
    from tspsim.explain.why import Why
    from tspsim.result import Result


@guarded
def explain(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DIR|SCENARIO", help="A folder that 'run -o' wrote, or what 'run' takes."
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes, such as strategy.degree=4.", show_default=False
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE",
            help="Draw what changing each constant does: a tornado as png, svg, pdf or html.",
        ),
    ] = None,
    why: Annotated[
        Path | None,
        typer.Option(
            "--why", metavar="FILE", help="Draw the step from the ideal one to the real one."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="No what-if: read the one run, simulate no other.")
    ] = False,
) -> None:
    """Explain a step: its critical path, what limits it, what fills the memory, and what if."""
    from tspsim.cli.progress import progress
    from tspsim.cli.simulated import simulated
    from tspsim.explain.explanation import explain as explained
    from tspsim.explain.report import to_dict
    from tspsim.output import pictures
    from tspsim.reports import explanation

    if output is not None and quick:
        raise OutputError("-o draws what the what-if finds, and --quick leaves it out")
    for path in (output, why):
        if path is not None:
            pictures.check(path)
    result = simulated(source, overrides or ())
    with progress("asking what if") as advance:
        found = explained(result, what_if=not quick, progress=advance)
    if json:
        show_json(to_dict(found))
    else:
        show(explanation.render(found))
    if why is not None:
        _draw_why(result, found.why, why)
        say(f"wrote {why}")
    if output is not None and found.what_if is not None:
        _draw(found.what_if, result.scenario.name, output)
        say(f"wrote {output}")


def _draw_why(result: Result, found: Why, path: Path) -> None:
    from tspsim.reports.waterfall import draw

    draw(result, found, path)


def _draw(found: WhatIf, name: str, path: Path) -> None:
    from tspsim.output import pictures
    from tspsim.reports.tornado import tornado

    drawn: Any = tornado(found, name)
    pictures.save(drawn.figure, path, f"tornado of {name}")
