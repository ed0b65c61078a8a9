"""A sweep's table as text or file: CSV, JSON, Markdown, LaTeX, Parquet."""

from __future__ import annotations

import csv
import importlib
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tspsim.files.errors import UnknownNameError, UserError
from tspsim.files.extras import install
from tspsim.files.writing import whole, write_text
from tspsim.sweeps import values
from tspsim.sweeps.store import Store

Cells = Sequence[Sequence[Any]]


def text(store: Store, form: str, wanted: Sequence[str] = ()) -> str:
    """Return a store's table as text.

    Parameters
    ----------
    store : Store
    form : str
        ``csv``, ``json``, ``md`` or ``latex``: figures in SI units, with all their digits.
    wanted : sequence of str
        Columns behind the axes; all of them when not given.

    Raises
    ------
    UnknownNameError
        When there is no such form or column.
    """
    if form not in WRITERS:
        raise UnknownNameError("format", form, FORMS)
    columns = store.columns()
    for column in wanted:
        if column not in columns:
            raise UnknownNameError("column", column, columns)
    if wanted:
        axes = [info.key for info in store.axes]
        columns = [*axes, *(column for column in wanted if column not in axes)]
    rows = [[row.cell(column) for column in columns] for row in store.rows()]
    return WRITERS[form](columns, rows)


def write(store: Store, form: str, path: Path, wanted: Sequence[str] = ()) -> None:
    """Write a store's table into a file.

    Raises
    ------
    UserError
        When there is no such form, or what it needs is not installed.
    OutputError
        When the file cannot be written.
    """
    if form == "parquet" and wanted:
        raise UserError("Parquet takes all columns: leave --columns out")
    if form == "parquet":
        with whole(path) as partial:
            _parquet(store, partial)
    else:
        write_text(path, text(store, form, wanted))


def _parquet(store: Store, path: Path) -> None:
    try:
        importlib.import_module("pyarrow")
    except ImportError:
        raise UserError(
            f"Parquet needs pandas and pyarrow, which are not installed: {install('parquet')}"
        ) from None
    table = store.frame()
    for info in store.axes:  # a column has one type: what is no number throughout becomes text
        if not info.numeric or info.unit:
            told = table[info.key].map(lambda v: None if v is None else values.label(v))
            table[info.key] = told
    table.to_parquet(path, engine="pyarrow", index=False)


def _csv(columns: Sequence[str], rows: Cells) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_plain(cell) for cell in row] for row in rows)
    return out.getvalue()


def _json(columns: Sequence[str], rows: Cells) -> str:
    objects = [dict(zip(columns, row, strict=True)) for row in rows]
    return json.dumps(objects, indent=2, ensure_ascii=False) + "\n"


def _markdown(columns: Sequence[str], rows: Cells) -> str:
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    for row in rows:
        cells = (_plain(cell).replace("|", "\\|").replace("\n", "<br>") for cell in row)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_",
    "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\n": " ",
}  # fmt: skip


def _latex(columns: Sequence[str], rows: Cells) -> str:
    def escaped(cell: Any) -> str:
        return "".join(_SPECIAL.get(letter, letter) for letter in _plain(cell))

    lines = [r"\begin{tabular}{" + "l" * len(columns) + "}", r"\hline"]
    lines += [" & ".join(map(escaped, columns)) + r" \\", r"\hline"]
    lines += [" & ".join(map(escaped, row)) + r" \\" for row in rows]
    return "\n".join([*lines, r"\hline", r"\end{tabular}"]) + "\n"


def _plain(cell: Any) -> str:
    return "" if cell is None else values.label(cell)


WRITERS: dict[str, Callable[[Sequence[str], Cells], str]] = {
    "csv": _csv, "json": _json, "md": _markdown, "latex": _latex,
}  # fmt: skip

#: All forms of a table: Parquet is no text, and goes into a file.
FORMS = (*WRITERS, "parquet")
