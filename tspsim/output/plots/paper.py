"""Pictures for print: as wide as a column or a page of a paper, with letters that can be read."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from matplotlib.figure import Figure
from matplotlib.text import Text

from tspsim.output.plots.legends import below

#: Least height of a picture over its width.
FLAT = 0.62
#: Points of letters at least, and at most.
LEAST, MOST = 5.5, 7.5
#: Inches of a line of a legend or a title.
LINE = 0.14

_wide: ContextVar[float | None] = ContextVar("inches of the picture", default=None)


@contextmanager
def paper(inches: float | None) -> Iterator[None]:
    """Let new figures be so wide, as print asks for; as suits a screen where that is None."""
    token = _wide.set(inches)
    try:
        yield
    finally:
        _wide.reset(token)


def asked() -> float | None:
    """Return how wide new figures are to be, in inches; None: as suits a screen."""
    return _wide.get()


def figure(width: float, height: float, *, rows: bool = False) -> Figure:
    """Return a new figure.

    Parameters
    ----------
    width, height : float
        Inches on a screen.
    rows : bool
        Whether the height is that of rows of text, which a narrower picture has no fewer of.
    """
    # A Figure of its own: pyplot would keep it, and count it, until someone closes it.
    inches = _wide.get()
    if inches is None:
        return Figure(figsize=(width, height))
    if not rows:
        height = max(height * inches / width, FLAT * inches)
    return Figure(figsize=(inches, height), layout="constrained")


def settle(drawn: Figure) -> None:
    """Give a figure for print its letters, its title and its legend, which stands below."""
    for text in drawn.findobj(Text):
        assert isinstance(text, Text)
        text.set_fontsize(min(max(text.get_fontsize(), LEAST), MOST))
    titled = [ax for ax in drawn.axes if ax.get_title(loc="left")]
    lines = 0
    if len(titled) == 1:
        title = titled[0].get_title(loc="left")
        titled[0].set_title("", loc="left")
        drawn.suptitle(title, x=0.01, ha="left", fontsize=MOST)
        lines += 1 + title.count("\n")
    lines += below(drawn, drawn.axes, MOST - 1)
    drawn.set_figheight(drawn.get_figheight() + LINE * lines)
