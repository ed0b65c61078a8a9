"""``tspsim export``: a run in the forms of other tools, or the table of a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from tspsim.cli.guard import guarded, say, write


@guarded
def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE",
            help="A scenario as for 'run', or a folder that 'run -o' or 'sweep -o' wrote.",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Changes of a scenario, as for 'run'.", show_default=False
        ),
    ] = None,
    form: Annotated[
        str,
        typer.Option(
            "--format",
            metavar="FORM",
            help="Of a sweep: csv, parquet, json, md or latex. Of a run: csv, trace, kineto... "
            "('tspsim list exports').",
        ),
    ] = "csv",
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="PATH", help="Where to; a sweep's table also to stdout."
        ),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            metavar="C,C...", help="Of a sweep: which columns behind the axes [default: all]."
        ),
    ] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Of a run: write over what is there.")
    ] = False,
) -> None:
    """Write a run for another tool, or the table of a sweep (SI units)."""
    if _is_sweep(source):
        _refuse_with_a_sweep(source, overrides, force)
        _sweep(Path(source), form, output, columns)
    else:
        _refuse_with_a_run(columns)
        _run(source, overrides or [], form, output, force)


def _is_sweep(source: str) -> bool:
    """Say whether a folder, or a file, holds a sweep.

    Raises
    ------
    OutputError
        When a folder holds neither a sweep nor a result.
    """
    from tspsim.files.errors import OutputError
    from tspsim.files.reading import is_folder, is_there
    from tspsim.output.folder import held
    from tspsim.sweeps.store import FILE

    path = Path(source)
    if not is_folder(path):
        return path.suffix == Path(FILE).suffix and is_there(path)
    if is_there(path / FILE):
        return True
    if not is_there(held(path)):
        raise OutputError(
            f"{path}: holds no result and no sweep; 'tspsim run SCENARIO -o DIR' or "
            "'tspsim sweep SCENARIO -o DIR' makes one"
        )
    return False


def _refuse_with_a_sweep(source: str, overrides: list[str] | None, force: bool) -> None:
    from tspsim.cli.simulated import refuse_changes
    from tspsim.files.errors import UserError

    refuse_changes(source, overrides)
    if force:
        raise UserError("--force: is for a run; a sweep's table is written over without it")


def _refuse_with_a_run(columns: str | None) -> None:
    from tspsim.files.errors import UserError

    if columns is not None:
        raise UserError("--columns: chooses columns of a sweep's table; this is a run")


def _run(source: str, overrides: list[str], form: str, output: Path | None, force: bool) -> None:
    """Simulate a scenario, and write it in a form."""
    from tspsim.cli.simulated import simulated
    from tspsim.files.errors import UserError
    from tspsim.output import exporting

    _check_form_of_a_run(source, form)
    if output is None:
        place = "a folder" if exporting.is_folder(form) else "a file"
        raise UserError(f"form '{form}' of a run is {place}: say which, -o PATH")
    exporting.check(form, output, force)
    made = exporting.write(form, simulated(source, overrides), output, force)
    say(f"wrote {output}" + (f": {len(made)} files" if exporting.is_folder(form) else ""))


def _check_form_of_a_run(source: str, form: str) -> None:
    from tspsim.files.errors import UnknownNameError, UserError
    from tspsim.registry import EXPORTS
    from tspsim.sweeps.export import FORMS

    known = EXPORTS.names()
    if form not in known and form in FORMS:
        raise UserError(
            f"{source}: is a run, and '{form}' is a table of a sweep ('tspsim sweep SCENARIO "
            f"KEY=VALUES -o DIR' makes one); of a run there are: {', '.join(known)}"
        )
    if form not in known:
        raise UnknownNameError("format", form, known)


def _sweep(directory: Path, form: str, output: Path | None, columns: str | None) -> None:
    """Write the table of a sweep: a row per point."""
    from tspsim.files.errors import UserError
    from tspsim.registry import EXPORTS
    from tspsim.sweeps import export as forms
    from tspsim.sweeps.store import Store

    store = Store.open(directory)
    wanted = [name.strip() for name in columns.split(",")] if columns else []
    if form not in forms.FORMS and form in EXPORTS.names():
        raise UserError(
            f"{directory}: holds a sweep, and '{form}' is a form of one run; of a sweep there "
            f"are: {', '.join(forms.FORMS)}"
        )
    if output is not None:
        forms.write(store, form, output, wanted)
        say(f"wrote {output}")
    elif form == "parquet":
        raise UserError("Parquet is no text: say where it goes, -o FILE")
    else:
        write(forms.text(store, form, wanted))
