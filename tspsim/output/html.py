"""Tables as a command prints them, as HTML for notebooks: in the colours of the page."""

from __future__ import annotations

from html import escape

from rich.console import Group, RenderableType
from rich.style import Style
from rich.table import Table
from rich.text import Text

from tspsim.files.characters import printable
from tspsim.output.plain import plain


def html(shown: RenderableType) -> str:
    """Return tables as tables, texts as paragraphs, and what is neither as it is printed."""
    if isinstance(shown, Group):
        return "".join(map(html, shown.renderables))
    if isinstance(shown, Table):
        return _table(shown)
    if isinstance(shown, Text | str):
        return _paragraph(shown if isinstance(shown, Text) else Text(shown))
    return f"<pre>{escape(plain(shown))}</pre>"


def _paragraph(text: Text) -> str:
    said = printable(text.plain).strip("\n")
    look = f"white-space:pre-wrap;margin:.3em 0;{_look(text.style)}"
    return f"<p style='{look}'>{escape(said)}</p>" if said.strip() else ""


def _table(table: Table) -> str:
    columns = [(f"text-align:{column.justify}", list(column.cells)) for column in table.columns]
    head = "".join(
        f"<th style='{place};white-space:pre'>{_cell(column.header)}</th>"
        for (place, _), column in zip(columns, table.columns, strict=True)
    )
    rows = [
        "".join(f"<td style='{place};white-space:pre'>{_cell(cells[n])}</td>"
                for place, cells in columns)
        for n in range(table.row_count)
    ]  # fmt: skip
    looks = [_look(row.style or "") for row in table.rows]
    body = "".join(f"<tr style='{look}'>{row}</tr>" for look, row in zip(looks, rows, strict=True))
    shown = f"<thead><tr>{head}</tr></thead>" if table.show_header else ""
    return f"<table>{shown}<tbody>{body}</tbody></table>"


def _cell(cell: RenderableType) -> str:
    """Return a cell; what a command makes bold, dim or red stays so."""
    text = cell if isinstance(cell, Text) else Text(cell) if isinstance(cell, str) else None
    if text is None:
        return escape(plain(cell))
    look, said = _look(text.style), escape(printable(text.plain))
    return f"<span style='{look}'>{said}</span>" if look else said


def _look(style: str | Style) -> str:
    words = str(style).split()
    looks = {"bold": "font-weight:bold;", "dim": "opacity:.7;"}
    colours = {"red": "color:#D55E00;", "green": "color:#009E73;", "yellow": "color:#B8860B;"}
    return "".join((looks | colours).get(word, "") for word in words)
