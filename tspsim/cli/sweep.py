"""``tspsim sweep``: a scenario at every point of a grid."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tspsim.cli.guard import guarded, say, show

if TYPE_CHECKING:
    from rich.console import RenderableType

    from tspsim.sweeps.crew import Crew
    from tspsim.sweeps.points import Point
    from tspsim.sweeps.run import Progress
    from tspsim.sweeps.store import Row, Store
    from tspsim.sweeps.study import Study

#: A table of at most this many rows is shown behind a sweep.
SHOWN = 30


@guarded
def sweep(
    source: Annotated[
        str, typer.Argument(metavar="SCENARIO", help="As for 'run', or a study file.")
    ],
    axes: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUES",
            help="Axes: workload.sequence=8192,16384 or range(a,b,step), log(a,b,n); "
            "with --sample also between(a,b), log(a,b).",
            show_default=False,
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="DIR", help="Where the results go, or lie already."),
    ] = None,
    jobs: Annotated[
        int | None, typer.Option("--jobs", min=1, metavar="N", help="Processes [default: cores].")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option("--scheduler", metavar="ADDRESS", help="Run on a dask cluster: tcp://..."),
    ] = None,
    link: Annotated[
        list[str] | None,
        typer.Option("--link", metavar="KEY,KEY...", help="Axes that move together."),
    ] = None,
    where: Annotated[
        list[str] | None,
        typer.Option("--where", metavar="EXPRESSION", help="Which points are wanted."),
    ] = None,
    sample: Annotated[
        str | None,
        typer.Option("--sample", metavar="METHOD:N", help="latin_hypercube:64 or sobol:64."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of the samples.")] = 0,
    yes: Annotated[
        bool, typer.Option("--yes", help="Run more than 100,000 points without asking.")
    ] = False,
) -> None:
    """Run a scenario at every point of a grid; goes on where it stopped."""
    from tspsim.files.errors import UserError
    from tspsim.sweeps import crew, samples
    from tspsim.sweeps import study as studies
    from tspsim.sweeps.points import points

    crew.check(scheduler)
    parsed = [studies.parse_axis(text) for text in axes or ()]
    links = [[key.strip() for key in text.split(",")] for text in link or ()]
    drawn = samples.read(sample, seed) if sample else None
    study = studies.load(source, parsed, links, drawn, where or ())
    found = points(study, allow_many=yes)
    if output is None:
        raise UserError(f"{len(found):,} points; say where their results go: -o DIR")
    _run(study, found, output, lambda: crew.crew(jobs or _cores(), scheduler))


def _run(study: Study, found: list[Point], output: Path, start: Callable[[], Crew]) -> None:
    """Run what is left of a study, and show what is stored."""
    from tspsim.sweeps.run import drive
    from tspsim.sweeps.store import Store

    name = str(study.opened.data()["name"])
    store = Store.create(output, study.document(), len(found), name)
    try:
        with _bar(len(store)) as advance:
            drive(study, found, store, start, advance)
        show(_table(store))
        more = f"; above: the {SHOWN} fastest that fit" if len(store) > SHOWN else ""
        say(f"{output}: {_counts(store)}{more}")
    except KeyboardInterrupt:
        say(f"{output}: {len(store)} of {len(found)} points are stored; "
            "run the same command again to go on")  # fmt: skip
        raise
    finally:
        store.close()


def _cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@contextlib.contextmanager
def _bar(done: int) -> Iterator[Progress]:
    """Show points, rate and time left on stderr, where that is a terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    rate = TextColumn("{task.fields[rate]}")
    columns = (TextColumn("sweeping"), BarColumn(), MofNCompleteColumn(), rate)
    left = TimeRemainingColumn(elapsed_when_finished=True)
    with Progress(*columns, left, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("points", total=None, completed=done, rate="")

        def advance(ended: int, total: int) -> None:
            speed = bar.tasks[0].speed
            rate = f"{speed:.1f}/s" if speed else ""
            bar.update(task, completed=ended, total=total, rate=rate)

        yield advance


def _counts(store: Store) -> str:
    told = ", ".join(f"{count} {status}" for status, count in store.statuses().items())
    return f"{len(store)} of {store.count} points: {told}"


def _table(store: Store) -> RenderableType:
    """Return the rows as a table; of many rows the best ones that fit."""
    from rich.table import Table

    rows = list(store.rows())
    if len(rows) > SHOWN:
        fitting = [row for row in rows if row.status == "ok"]
        rows = sorted(fitting, key=lambda row: -row.figures["tokens_per_second"])[:SHOWN]
    axes = [info.key for info in store.axes]
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for key in axes:
        table.add_column(key.rpartition(".")[2], overflow="fold")
    for name in ("mesh", "step time", "tok/s/dev", "peak"):
        table.add_column(name, justify="left" if name == "mesh" else "right")
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(*_cells(row, axes))
    return table


def _cells(row: Row, axes: list[str]) -> list[str]:
    from tspsim.files.between import between
    from tspsim.output.units import size, time, time_unit
    from tspsim.sweeps.values import label

    shown = ["" if row.axes[key] is None else label(row.axes[key]) for key in axes]
    if not row.figures:
        return [*shown, "", "", "", "", f"{row.status}: {row.reason}"]
    found = row.figures
    rate, peak = f"{found['tokens_per_second_per_device']:,.0f}", size(found["memory.peak"])
    verdict = "" if row.status == "ok" else row.reason
    low, unit = found.get("step_time_low"), time_unit(found["step_time"])
    lies = "" if low is None else f"\n{between(low, found['step_time_high'], unit)}"
    return [*shown, found["mesh"], f"{time(found['step_time'])}{lies}", rate, peak, verdict]
