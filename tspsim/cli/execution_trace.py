"""``tspsim show FILE.et``: what an execution trace of Chakra holds, of this or another tool."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.table import Table

from tspsim.cli.guard import show, show_json
from tspsim.files.errors import UserError
from tspsim.files.units import format_bytes


def is_one(name: str) -> bool:
    """Whether a name is that of an execution trace."""
    return name.endswith(".et")


def show_trace(name: str, overrides: list[str], json: bool) -> None:
    """Print what a trace holds."""
    from tspsim.output.chakra import reading

    if overrides:
        raise UserError(
            f"{name}: is an execution trace, in which nothing is changed: {overrides[0]}"
        )
    found = reading.summary(reading.read(Path(name)))
    if json:
        show_json(found)
    else:
        show(_table(name, found))


def _table(name: str, found: dict[str, Any]) -> Table:
    """Return a row per kind of node, and one per collective."""
    table = Table(box=None, title=f"{name}: Chakra {found['version']}", title_justify="left")
    for column in ("kind", "nodes", "total", "bytes"):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind, of_kind in found["nodes"].items():
        table.add_row(kind, f"{of_kind['count']:,}", f"{of_kind['micros'] / 1e3:,.3f} ms", "")
    table.add_section()
    for kind, of_kind in found["communication"].items():
        table.add_row(kind, f"{of_kind['count']:,}", "", format_bytes(of_kind["bytes"]))
    return table
