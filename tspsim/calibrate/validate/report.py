"""A validation as a table, as JSON, as a page, and as the ``error`` of its profile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.calibrate.fit.curves import rounded
from tspsim.calibrate.validate.compare import Comparison, Report, describe
from tspsim.calibrate.validate.scenario import scheme
from tspsim.files.reading import read_text
from tspsim.files.writing import make_folder, write_text


def to_dict(report: Report) -> dict[str, Any]:
    """Return a report as JSON data, SI units."""
    return {
        "profile": report.profile,
        "error": rounded(report.error),
        "errors": {name: rounded(e) for name, e in report.errors_by_scheme().items()},
        "rows": [_row(c) for c in report.comparisons],
        "ranking": [
            {"of": g.name, "measured": g.measured, "predicted": g.predicted}
            | {"pairs": g.pairs, "agreeing": g.agreeing}
            for g in report.groups()
        ],
    }


def _row(c: Comparison) -> dict[str, Any]:
    return {
        "block": describe(c),
        "measured": rounded(c.measured),
        "predicted": rounded(c.predicted),
        "error": rounded(c.error),
        "spread": rounded(c.spread),
    }


def render(report: Report) -> RenderableType:
    """Return a report for the terminal."""
    table = Table(title=f"{report.profile}: blocks that no constant was fitted to", box=None)
    table.add_column("block", no_wrap=True)
    for name in ("measured", "predicted", "error", "spread"):
        table.add_column(name, justify="right", no_wrap=True)
    for c in report.comparisons:
        table.add_row(*_cells(c))
    errors = report.errors_by_scheme()
    by = ", ".join(f"{name} {error:.1%}" for name, error in errors.items())
    lines = [f"mean absolute error {report.error:.1%} over {len(report.comparisons)} blocks", by]
    return Group(table, Text("\n" + "\n".join([*lines, *_orders(report)])))


def _cells(c: Comparison) -> tuple[str, ...]:
    times = (f"{c.measured * 1e3:,.1f} ms", f"{c.predicted * 1e3:,.1f} ms")
    return describe(c), *times, f"{c.error:+.1%}", f"±{c.spread:.1%}"


def _orders(report: Report) -> list[str]:
    """Return how well strategies are ranked, group by group."""
    groups = report.groups()
    if not groups:
        return []
    right, pairs = sum(g.agreeing for g in groups), sum(g.pairs for g in groups)
    lines = [f"rank order: {right} of {pairs} pairs of strategies are in the measured order"]
    for g in groups:
        lines.append(f"  {g.name}: measured {' < '.join(g.measured)}")
        if g.measured != g.predicted:
            lines.append(f"  {' ' * len(g.name)}  predicted {' < '.join(g.predicted)}")
    return lines


def page(report: Report, pictures: list[str]) -> str:
    """Return a report as a Markdown page."""
    rows = [f"| {' | '.join(_cells(c))} |" for c in report.comparisons]
    errors = [f"| {name} | {error:.1%} |" for name, error in report.errors_by_scheme().items()]
    images = [f"![{name}]({name})" for name in pictures]
    return "\n".join(
        [
            f"# Validation of {report.profile}",
            "",
            f"Mean absolute error {report.error:.1%} over {len(report.comparisons)} measured "
            "training steps, none of which any constant was fitted to.",
            "",
            "| block | measured | predicted | error | spread of repeats |",
            "|---|---:|---:|---:|---:|",
            *rows,
            "",
            "| strategy | mean absolute error |",
            "|---|---:|",
            *errors,
            "",
            "```",
            *_orders(report),
            "```",
            "",
            *(line for image in images for line in (image, "")),
        ]
    )


def write(report: Report, folder: Path) -> list[Path]:
    """Write the page and its pictures into a folder; return their paths."""
    from tspsim.calibrate.validate import draw

    make_folder(folder)
    paths = [folder / "predicted-measured.png"]
    draw.scatter(report, paths[0])
    for c in report.comparisons:
        if c.row.timeline:
            name = re.sub(r"\W+", "-", scheme(c.row)).strip("-")
            paths.append(folder / f"timeline-{name}.png")
            draw.pair(c, paths[-1])
    text = page(report, [path.name for path in paths])
    write_text(folder / "report.md", text)
    return [folder / "report.md", *paths]


def state_error(profile: Path, error: float) -> None:
    """Write the measured error into a profile, where results take their error bar from."""
    lines = read_text(profile).splitlines()
    kept = [line for line in lines if not line.startswith("error:")]
    at = next((i for i, line in enumerate(kept) if line.startswith("interference:")), len(kept))
    kept.insert(at, f"error: {rounded(error)}")
    write_text(profile, "\n".join(kept) + "\n")
