"""Draws a registered plot into a file."""

from __future__ import annotations

import html
import inspect
import io
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tspsim.files.errors import OutputError, UnknownNameError, UserError, did_you_mean
from tspsim.files.writing import check_file, whole
from tspsim.registry import PLOTS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tspsim.result import Result

#: Suffix of a picture, and the metadata that takes the time of drawing out of it.
SUFFIXES: dict[str, dict[str, Any]] = {
    ".png": {}, ".svg": {"Date": None}, ".pdf": {"CreationDate": None}, ".html": {"Date": None},
}  # fmt: skip

#: Ids in an svg are hashes with a random salt unless it is given: same input, same bytes.
#: Texts stay texts, to be searched and edited: in a pdf with its TrueType fonts, which publishers
#: ask for, and not as Type 3.
_AS_IT_IS: dict[Any, Any] = {
    "svg.hashsalt": "tspsim", "svg.fonttype": "none", "pdf.fonttype": 42,
}  # fmt: skip

#: Inches of a picture in print: in one of a paper's two columns, or across both.
WIDTHS = {"column": 3.35, "page": 7.0}

#: Pixels of an inch, on a screen and in print.
SCREEN, PRINT = 150, 300

#: What matplotlib's own formulas, the powers of ten on an axis, begin with.
_TICK = "\\mathdefault"

#: A page of its own, with nothing to fetch: the drawing in lines, so that a browser zooms into it.
_PAGE = """<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>{title}</title>
<style>body {{ margin: 1em; background: white; }} svg {{ width: 100%; height: auto; }}</style>
</head>
<body>
{drawing}
</body>
</html>
"""


def draw(
    kind: str, result: Result, path: str | Path, *, width: str | None = None, **options: Any
) -> None:
    """Draw a plot and save it.

    Parameters
    ----------
    kind : str
        Name of a plot: ``gantt``, ``memory``, ``links``, ``roofline`` or a registered one.
    result : Result
    path : str or Path
        Its suffix, ``.png``, ``.svg``, ``.pdf`` or ``.html``, says the format.
    width : {"column", "page"}, optional
        For print: as wide as that of a paper.
    **options
        Handed to the plot.

    Raises
    ------
    UnknownNameError
        When there is no plot of that name.
    UserError
        When the plot has no such option.
    OutputError
        When the suffix is another one, or the file cannot be written.
    """
    path = Path(path)
    check(path)
    check_options(kind, options)
    title = f"{kind} of {result.scenario.name}"
    draw_at(width, lambda: PLOTS.get(kind)(result, **options).figure, path, title)


def draw_at(width: str | None, make: Callable[[], Figure], path: Path, title: str) -> None:
    """Draw a figure as wide as a paper's column or page, or as suits a screen, and save it.

    Raises
    ------
    UnknownNameError
        When print has no such width.
    OutputError
        When the file cannot be written.
    """
    from tspsim.output.plots.paper import paper, settle

    with paper(inches(width)):
        drawn = make()
        if width:
            settle(drawn)
    save(drawn, path, title, exact=bool(width))


def check_options(kind: str, options: Iterable[str]) -> None:
    """Raise unless a plot has the options of some names.

    Raises
    ------
    UserError
        It names those that it has not.
    """
    known = inspect.signature(PLOTS.get(kind)).parameters
    foreign = [name for name in options if name not in known]
    if foreign:
        raise UserError(f"a {kind} plot has no {' and no '.join(foreign)} to choose")


def inches(width: str | None) -> float | None:
    """Return how wide a picture for print is; None: as suits a screen.

    Raises
    ------
    UnknownNameError
        When it is none of `WIDTHS`.
    """
    if width is not None and width not in WIDTHS:
        raise UnknownNameError("width", width, tuple(WIDTHS))
    return None if width is None else WIDTHS[width]


def check(path: Path) -> None:
    """Raise unless a picture can be written to a path, before time is spent on what it shows.

    Raises
    ------
    OutputError
        When its suffix is that of no format, or there is no place for a file.
    """
    if path.suffix.lower() not in SUFFIXES:
        allowed = ", ".join(SUFFIXES)
        guess = did_you_mean(path.suffix.lower(), SUFFIXES)
        raise OutputError(f"{path}: pictures are {allowed}, not '{path.suffix}'{guess}")
    check_file(path)


def save(figure: Figure, path: Path, title: str, *, exact: bool = False) -> None:
    """Save a figure in the format of the path's suffix, whole or not at all.

    Parameters
    ----------
    figure : Figure
    path : Path
    title : str
        Of a page that holds it.
    exact : bool
        Whether the picture is as large as the figure says; else it ends where what is drawn does.

    Raises
    ------
    OutputError
        When the file cannot be written.
    """
    import matplotlib as mpl

    metadata = SUFFIXES[path.suffix.lower()]
    _without_formulas(figure)
    with whole(path) as partial, mpl.rc_context(_AS_IT_IS):
        if path.suffix.lower() == ".html":
            partial.write_text(_page(figure, title), encoding="utf-8")
        else:
            dpi, box = (PRINT, None) if exact else (SCREEN, "tight")
            figure.savefig(partial, dpi=dpi, metadata=metadata, bbox_inches=box)


def _page(figure: Figure, title: str) -> str:
    """Return a page that holds the figure as svg."""
    return _PAGE.format(title=html.escape(title), drawing=svg(figure))


def svg(figure: Figure) -> str:
    """Return a figure as an svg element, the same text for the same figure."""
    import matplotlib as mpl

    text = io.StringIO()
    _without_formulas(figure)
    with mpl.rc_context(_AS_IT_IS):
        figure.savefig(text, format="svg", dpi=150, metadata=SUFFIXES[".svg"], bbox_inches="tight")
    drawing = text.getvalue()
    return drawing[drawing.index("<svg") :]


def _without_formulas(figure: Figure) -> None:
    """Draw the dollars of names as dollars: matplotlib takes what stands between two for TeX."""
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        if isinstance(text, Text) and _TICK not in text.get_text():
            text.set_parse_math(False)
