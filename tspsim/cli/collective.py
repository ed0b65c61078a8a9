"""``tspsim collective``: one collective over its size, printed as nccl-tests does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, get_args

import typer

from tspsim.cli.guard import guarded, say, show, show_json, write
from tspsim.files.errors import UnknownNameError, UserError

if TYPE_CHECKING:
    from rich.table import Table

    from tspsim.collectives.curve import Point
    from tspsim.program.types import CollectiveKind
    from tspsim.topology.evidence import Residuals
    from tspsim.topology.graph import Topology

#: The devices that take part.
Members: TypeAlias = tuple[int, ...]


@guarded
def collective(
    kind: Annotated[
        str,
        typer.Argument(
            metavar="KIND",
            help="all_reduce, all_gather, reduce_scatter, broadcast, reduce, all_to_all or shift",
        ),
    ],
    topology: Annotated[
        str,
        typer.Option("--topology", metavar="NAME|FILE", help="A shipped topology or a YAML file."),
    ],
    sizes: Annotated[
        str,
        typer.Option(
            "--bytes", metavar="FIRST..LAST", help="Sizes, doubled from the first: 8..8GiB."
        ),
    ] = "8..8GiB",
    ranks: Annotated[
        int | None,
        typer.Option("--ranks", help="The first so many devices. [default: all of them]"),
    ] = None,
    algorithm: Annotated[
        str, typer.Option("--algorithm", help="One of 'tspsim list collectives'.")
    ] = "auto",
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile", metavar="NAME|FILE", help="Constants in place of the device's own."
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print a list of rows (SI units).")] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o", "--output", metavar="FILE",
            help="Draw the bus bandwidth, and what was measured on such devices: png, svg or pdf.",
        ),
    ] = None,
) -> None:  # fmt: skip
    """Time one collective on a topology, by size, where nothing else uses the links."""
    from tspsim.collectives.curve import curve
    from tspsim.output import pictures

    if output is not None:
        pictures.check(output)
    what = _kind(kind)
    place = _topology(topology, profile)
    members = _members(ranks, place)
    points = curve(what, parse_sizes(sizes), members, place, algorithm)
    if json:
        show_json([row(what, point, members, place) for point in points])
    else:
        write(_heading(what, points, members, place) + "\n")
        show(_table(points))
    if output is not None:
        _draw(what, points, len(members), place, output)
        say(f"wrote {output}")


def _draw(
    kind: CollectiveKind, points: tuple[Point, ...], ranks: int, topology: Topology, path: Path
) -> None:
    """Draw the points, and over them what was published of such devices and links."""
    from tspsim.calibrate.published.measured import matching
    from tspsim.reports.curves import Panel, draw_curves

    first, last = points[0].bytes, points[-1].bytes
    measured = [
        (
            f"published: {curve.title}",
            [(r.bytes, r.bus_bandwidth) for r in curve.rows() if first <= r.bytes <= last],
        )
        for curve in matching(kind, ranks, topology)
    ]
    title = f"{kind} over {ranks} of {topology.name}, profile {topology.profile.name}"
    draw_curves([Panel(title, points, measured)], path)


def row(kind: CollectiveKind, point: Point, members: Members, place: Topology) -> dict[str, Any]:
    """Return a point as JSON data, SI units; no interval where the error is unknown."""
    found = _residuals(kind, point.algorithm, members, place) if point.fitted else None
    return {
        "bytes": int(point.bytes),
        "time": point.time,
        "algbw": point.algbw,
        "busbw": point.busbw,
        "algorithm": point.algorithm,
        "fitted": point.fitted,
        "interval": None if found is None else list(found.interval(point.time)),
    }


def parse_sizes(text: str) -> tuple[float, ...]:
    """Return the sizes of ``"8..8GiB"``, each twice the one before; or of a single size.

    Raises
    ------
    UserError
        When an end is no size, or they are the wrong way round.
    """
    from tspsim.collectives.curve import doubled

    first, dots, last = text.partition("..")
    ends = [_size(end, text) for end in ((first, last) if dots else (first,))]
    if ends[0] > ends[-1]:
        raise UserError(f"--bytes: '{text}' ends before it begins; write the smaller size first")
    return doubled(ends[0], ends[-1])


def _size(end: str, text: str) -> float:
    from tspsim.files.units import quantity

    end = end.strip()
    try:
        size = float(end) if end.isdecimal() else quantity(end, "B")
    except ValueError as error:
        raise UserError(f"--bytes: '{text}': {error}; for example 8..8GiB") from None
    if size < 1 or size != int(size) or size > 2**50:
        raise UserError(f"--bytes: '{text}': {end or 'nothing'} is no whole number of bytes from 1 "
                        "to 1 PiB")  # fmt: skip
    return size


def _kind(kind: str) -> CollectiveKind:
    from tspsim.program.types import CollectiveKind

    known: dict[str, CollectiveKind] = {name: name for name in get_args(CollectiveKind)}
    if kind not in known:
        raise UnknownNameError("collective", kind, known)
    return known[kind]


def _topology(name: str, profile: str | None) -> Topology:
    from pydantic import ValidationError

    from tspsim.topology.forms import explain
    from tspsim.topology.load import load_file, parse_profile

    try:
        form = None if profile is None else parse_profile(profile)
    except ValidationError as error:
        raise UserError(f"--profile: {explain(error)}") from None
    return load_file(name, form)


def _members(ranks: int | None, topology: Topology) -> tuple[int, ...]:
    most = len(topology.devices)
    count = most if ranks is None else ranks
    if not 1 <= count <= most:
        raise UserError(
            f"--ranks: {count} ranks; '{topology.name}' has {most} devices, so 1 to {most}"
        )
    return tuple(range(count))


def _heading(
    kind: CollectiveKind, points: Sequence[Point], members: Members, place: Topology
) -> str:
    """Return what is timed, and how far the profile was off on calls like it."""
    from tspsim.topology.evidence import reach

    known = dict.fromkeys((point.algorithm, point.fitted) for point in points if point.time)
    said = [
        line
        for algorithm, fitted in known
        for line in (
            _known(kind, algorithm, fitted, members, place),
            *_protocols([point for point in points if point.algorithm == algorithm]),
        )
    ] or ["  nothing is sent: one rank has no other"]
    lines = [
        f"{kind} over {len(members)} of {len(place.devices)} devices of {place.name}, "
        f"{reach(members, place)}",
        f"times from profile {place.profile.name}",
        *said,
    ]
    return "\n".join(lines)


def _protocols(points: Sequence[Point]) -> list[str]:
    """Return the protocols of one algorithm, where the size decides between several."""
    firsts: dict[tuple[float, float], Point] = {}
    for point in points:
        firsts.setdefault(point.protocol, point)
    return [
        f"    from {int(first.bytes)} B: {1e6 * latency:.2f} us for any size, and "
        f"{100 * achieved:.0f} % of what the links state"
        for (latency, achieved), first in firsts.items()
        if len(firsts) > 1
    ]


def _known(
    kind: CollectiveKind, algorithm: str, fitted: bool, members: Members, place: Topology
) -> str:
    """Return what is known of the error of one algorithm."""
    if not fitted:
        return f"  {algorithm}: links as stated, nothing was fitted to such calls; error unknown"
    found = _residuals(kind, algorithm, members, place)
    if found is None:
        return f"  {algorithm}: error unknown, no measured call is like it"
    low, high = (100 * (math.exp(log) - 1) for log in (found.low, found.high))
    rows = "1 call" if found.rows == 1 else f"{found.rows} calls"
    return (
        f"  {algorithm}: 80 % of {rows} like it, kept from the fit, took {low:+.1f} to "
        f"{high:+.1f} % of these times"
    )


def _residuals(
    kind: CollectiveKind, algorithm: str, members: Members, place: Topology
) -> Residuals | None:
    from tspsim.topology.evidence import evidence, reach

    return evidence(place.profile, kind, algorithm, *reach(members, place))


def _table(points: tuple[Point, ...]) -> Table:
    from rich.table import Table

    table = Table(box=None, padding=(0, 3, 0, 0), header_style="bold")
    for title in ("size (B)", "time (us)", "algbw (GB/s)", "busbw (GB/s)"):
        table.add_column(title, justify="right", no_wrap=True)
    table.add_column("algorithm", no_wrap=True)
    for point in points:
        figures = (point.time * 1e6, point.algbw / 1e9, point.busbw / 1e9)
        cells = (f"{figure:.2f}" for figure in figures)
        table.add_row(f"{int(point.bytes)}", *cells, point.algorithm)
    return table
