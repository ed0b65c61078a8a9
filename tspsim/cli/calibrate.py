"""``tspsim calibrate measure|fit`` and ``tspsim validate``: constants from real runs."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tspsim.cli import importing
from tspsim.cli.guard import guarded, say, show, show_json, write
from tspsim.files.bounds import read_positive
from tspsim.files.errors import UserError
from tspsim.files.extras import need
from tspsim.files.writing import check_below, check_folder

if TYPE_CHECKING:
    from tspsim.calibrate.measure.run import Progress

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Measure this machine, and fit a profile to what was measured.",
)
app.add_typer(importing.app, name="import")

Rows = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that 'measure' wrote.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object (SI units).")]


@app.command()
@guarded
def measure(
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="DIR", help="Where rows go, or lie already.")
    ],
    quick: Annotated[bool, typer.Option("--quick", help="Few sizes and repeats.")] = False,
    ranks: Annotated[str, typer.Option("--ranks", metavar="N,N...", help="Numbers of ranks.")] = (
        "2,4"
    ),
    rate: Annotated[
        str, typer.Option("--rate", metavar="RATE", help="Of a throttled link, per rank.")
    ] = "1 Gbit/s",
    loopback: Annotated[
        bool, typer.Option("--loopback", help="No namespaces: ranks talk over loopback.")
    ] = False,
    allow_busy: Annotated[
        bool, typer.Option("--allow-busy", help="Measure although others use the machine.")
    ] = False,
    real_time: Annotated[
        bool,
        typer.Option("--real-time", help="Ranks go before everything else (root on Linux)."),
    ] = False,
    timeout: Annotated[
        str,
        typer.Option("--timeout", metavar="TIME", help="Give up ranks that measured nothing."),
    ] = "120 s",
    trace: Annotated[
        Path | None,
        typer.Option("--trace", metavar="DIR", help="Trace each block that is measured, too."),
    ] = None,
) -> None:
    """Measure ops, collectives and blocks of the reference; goes on where it stopped."""
    from tspsim.calibrate.measure import links
    from tspsim.calibrate.measure.run import Setup
    from tspsim.calibrate.measure.run import measure as run

    for folder in (output, trace):
        if folder is not None:
            check_folder(folder)
    throttled = not loopback and links.available()
    if not throttled and not loopback:
        say("no right to make network namespaces: ranks talk over loopback, and the rows say so")
    setup = Setup(
        output, _numbers(ranks), 8 * read_positive("--rate", rate, "B/s"), quick, throttled,
        allow_busy, read_positive("--timeout", timeout, "s"), real_time, trace,
    )  # fmt: skip
    with _bar() as advance:
        new = run(setup, advance)
    say(f"{new} new rows in {output}")


#: Each rank is a process of this machine: more are a slip of the finger.
_MOST_RANKS = 1000


def _numbers(text: str) -> tuple[int, ...]:
    try:
        found = tuple(int(part) for part in text.split(","))
    except ValueError:
        found = ()
    if not found or min(found) < 2 or max(found) > _MOST_RANKS:
        told = f"numbers of at least 2 and at most {_MOST_RANKS} are expected, such as 2,4"
        raise UserError(f"--ranks {text}: {told}")
    return found


@contextlib.contextmanager
def _bar() -> Iterator[Progress]:
    """Show how many rows are there, on stderr where that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("measuring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("rows", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


@app.command()
@guarded
def fit(
    rows: Rows,
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The profile to write.")
    ],
    json: Json = False,
) -> None:
    """Fit a profile to raw rows, with intervals, residuals and held-out errors."""
    need("scipy", "calibrate", "fitting")
    check_below(output)
    from tspsim.calibrate import fit as fitting
    from tspsim.calibrate import rows as raw
    from tspsim.calibrate.fit import table, write

    measured = raw.read(rows)
    found = fitting.fit(measured)
    ranks = sorted({row.case["ranks"] for row in measured.rows if row.kind != "op"})
    paths = write.write(found, output, ranks)
    if json:
        show_json(write.intervals_document(found) | {"collectives": found.network.algorithms})
    else:
        show(table.render(found))
    say("wrote " + ", ".join(map(str, paths)))


def _published(rows: Path | None, profile: Path | None, output: Path | None, as_json: bool) -> None:
    """Print what the published steps say of the shipped profiles."""
    from tspsim.calibrate.published import judge, step_table, steps
    from tspsim.files.shipped import shipped

    if rows or profile or output:
        raise UserError("--published takes the shipped profiles: leave DIR, --profile, -o out")
    judged = judge.judge(steps.load(shipped("published")))
    if as_json:
        show_json(step_table.to_dict(judged))
    else:
        write(step_table.table(judged))


@guarded
def validate(
    rows: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="A folder that 'measure' wrote.", show_default=False),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option("--profile", metavar="FILE", help="That 'calibrate fit' wrote."),
    ] = None,
    published: Annotated[
        bool, typer.Option("--published", help="The steps that others published, in place of DIR.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Write a report with pictures there."),
    ] = None,
    json: Json = False,
) -> None:
    """Predict measured blocks that no constant was fitted to; the profile gets the error."""
    if published:
        _published(rows, profile, output, json)
        return
    if rows is None or profile is None:
        raise UserError("give DIR and --profile FILE, or --published")
    need("scipy", "calibrate", "fitting")
    if output is not None:
        check_folder(output)
    from tspsim.calibrate import rows as raw
    from tspsim.calibrate.validate import report
    from tspsim.calibrate.validate import validate as compare

    found = compare(raw.read(rows), profile)
    report.state_error(profile, found.error)
    if json:
        show_json(report.to_dict(found))
    else:
        show(report.render(found))
    if output is not None:
        for path in report.write(found, output):
            say(f"wrote {path}")
    say(f"{profile}: error {found.error:.1%}")
