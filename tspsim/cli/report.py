"""``tspsim report``: one page that answers, for a run, a comparison or a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tspsim.cli.guard import guarded, say


@guarded
def report(
    directories: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="A folder of 'run -o' or of 'sweep -o'; several of 'run -o' are compared.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="The page [default: report.html in DIR]."
        ),
    ] = None,
) -> None:
    """Write a page that holds everything: answer, tables, charts to zoom, what it rests on."""
    from tspsim.cli.progress import progress
    from tspsim.files.reading import is_folder
    from tspsim.reports.html import page, sources

    folder = directories[0]
    target = output or (folder if is_folder(folder) else Path()) / "report.html"
    page.check(target)
    with progress("simulating") as advance:
        subject = sources.read(directories, advance)
    page.write(subject, target)
    say(f"wrote {target}")
