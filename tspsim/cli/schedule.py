"""``tspsim schedule``: the order of a pipeline schedule, drawn, and what it costs by itself."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from tspsim.cli.guard import guarded, say, show, show_json, write
from tspsim.files.errors import OutputError, UserError
from tspsim.files.numbers import plain

if TYPE_CHECKING:
    from rich.table import Table

    from tspsim.schedules.orders.order import Order
    from tspsim.schedules.orders.play import Play

#: Columns of a drawing, behind the number of the rank.
WIDTH = 76


class Sizes(NamedTuple):
    """How large a pipeline is, as far as it was stated."""

    stages: int | None
    micro_batches: int | None
    chunks: int | None


@guarded
def schedule(
    what: Annotated[
        str,
        typer.Argument(
            metavar="SCHEDULE",
            help="One of 'tspsim list schedules', or a file with a line of actions per rank.",
        ),
    ],
    options: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="KEY=VALUE", help="Its options, such as group_size=8.", show_default=False
        ),
    ] = None,
    stages: Annotated[
        int | None,
        typer.Option("--stages", min=1, help="Ranks. [default: 4, or those of the file]"),
    ] = None,
    micro_batches: Annotated[
        int | None,
        typer.Option("--micro-batches", min=1, help="[default: 8, or those of the file]"),
    ] = None,
    chunks: Annotated[
        int | None,
        typer.Option("--chunks", min=1, help="Stages on each rank. [default: the fewest]"),
    ] = None,
    times: Annotated[
        str,
        typer.Option(
            "--times",
            metavar="F,I,W",
            help="Times of forward, input gradient and weight gradients, in any unit.",
        ),
    ] = "1,1,1",
    message: Annotated[
        float,
        typer.Option("--message", min=0, max=1e9, help="Time from rank to rank, in that unit."),
    ] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE", help="Write the rows: .csv as torch does, or text."
        ),
    ] = None,
) -> None:  # fmt: skip
    """Show what every rank of a pipeline runs, where it waits, and what it holds."""
    from tspsim.files.writing import check_file
    from tspsim.schedules.orders.play import equal, play

    if output is not None:
        check_file(output)
    order = _order(what, options or (), Sizes(stages, micro_batches, chunks))
    played = play(order, equal(order.stages, *_times(times), message))
    if output is not None:
        _save(order, output)
    if json:
        show_json(_data(what, order, played))
    else:
        write(_drawn(what, order, played) + "\n\n")
        show(_table(order, played))
        write(f"\n{order}\n")
    if output is not None:
        say(f"wrote {output}")


# ---- what is asked for -----------------------------------------------------------------------


def _order(what: str, options: Sequence[str], sizes: Sizes) -> Order:
    from tspsim.registry import SCHEDULES

    if what in SCHEDULES.names() or not (Path(what).suffix or Path(what).exists()):
        return _made(what, options, sizes)
    if options:
        raise UserError(f"'{options[0]}': a file has no options")
    return _read(Path(what), sizes)


def _made(kind: str, options: Sequence[str], sizes: Sizes) -> Order:
    """Return the order of a schedule by its name."""
    from pydantic import ValidationError

    from tspsim.files import faults
    from tspsim.files.source import dotted
    from tspsim.registry import SCHEDULES
    from tspsim.scenario.overrides import apply, parse_overrides

    form = SCHEDULES.get(kind)
    stated, wrong = apply({}, parse_overrides(options))
    try:
        schedule = form.model_validate(stated)
    except ValidationError as error:
        wrong += [dotted(problem) for problem in faults.problems(error, form, stated)]
        raise UserError("\n".join(wrong)) from None
    made: Order = schedule.order(sizes.stages or 4, sizes.micro_batches or 8, sizes.chunks)
    return made


def _read(path: Path, sizes: Sizes) -> Order:
    """Return the order that a file holds, of its own size where none is stated."""
    from tspsim.schedules.orders.reading import named, read

    written = read(path)
    stages, micro_batches = named(written.rows)
    ranks = sizes.stages or max(1, len(written.rows))
    chunks = sizes.chunks or max(1, math.ceil(stages / ranks))
    return written.order(ranks, sizes.micro_batches or max(1, micro_batches), chunks)


def _times(text: str) -> tuple[float, float, float]:
    try:
        forward, inputs, weights = (float(part) for part in text.split(","))
    except ValueError:
        message = f"--times: '{text}'; three numbers are expected, as in 1,1,1"
        raise UserError(message) from None
    found = forward, inputs, weights
    if not all(0 <= time <= 1e9 for time in found) or not any(found):
        raise UserError(f"--times: '{text}'; each is from 0 to 1e9, and one is more than 0")
    return found


# ---- what is answered ------------------------------------------------------------------------


def _drawn(what: str, order: Order, play: Play) -> str:
    """Return what the schedule is, and a line for each rank, to scale."""
    from tspsim.schedules.orders.drawing import drawn

    lines, unit = drawn(play, WIDTH)
    digits = len(str(order.ranks - 1))
    chunks = order.stages // order.ranks
    sizes = f"{order.ranks} ranks, {order.microbatches} micro-batches"
    head = f"{what}: {sizes}" + (f", {chunks} stages on each rank" if chunks > 1 else "")
    rows = [f"{rank:>{digits}}  {line}" for rank, line in enumerate(lines)]
    return "\n".join([head, *rows, f"{'':{digits}}  a column is {plain(unit, 4)}; . waits"])


def _data(what: str, order: Order, play: Play) -> dict[str, Any]:
    """Return the answer as JSON data, times in the unit that they were given in."""
    from tspsim.schedules.orders.play import held

    return {
        "schedule": what,
        "stages": order.stages,
        "micro_batches": order.microbatches,
        "placement": list(order.placement),
        "step": play.span,
        "ranks": [
            {
                "busy": play.busy(rank),
                "bubble": play.bubble(rank),
                "held": held(order, rank),
                "actions": row.split(),
            }
            for rank, row in enumerate(str(order).splitlines())
        ],
    }


def _table(order: Order, play: Play) -> Table:
    from rich.table import Table

    from tspsim.schedules.orders.play import held

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("rank", "stages", "busy", "bubble", "of the step", "held at most"):
        table.add_column(title, justify="right", no_wrap=True)
    for rank in range(order.ranks):
        busy, bubble = play.busy(rank), play.bubble(rank)
        stages = " ".join(map(str, order.on(rank)))
        share = f"{100 * bubble / play.span:.1f} %"
        table.add_row(str(rank), stages, plain(busy), plain(bubble), share, str(held(order, rank)))
    return table


def _save(order: Order, path: Path) -> None:
    """Write an order to a file, from which it is read back as the same one."""
    from tspsim.files.writing import write_text
    from tspsim.schedules.orders.reading import text_of

    if order.pipelines > 1:
        message = "a file says nothing of two pipelines over the same ranks"
        raise OutputError(f"{path}: {message}; name the schedule in a scenario instead")
    write_text(path, text_of(order, "," if path.suffix == ".csv" else " "))
