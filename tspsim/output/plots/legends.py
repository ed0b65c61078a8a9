"""Legends below a figure: one for all of its axes."""

from __future__ import annotations

from collections.abc import Iterable
from textwrap import fill
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

#: Columns at most, and the width of a letter and of all that is beside an entry's text, both over
#: the letters' height.
MOST, LETTER, BESIDE = 5, 0.56, 5.0


def below(figure: Figure, panels: Iterable[Axes], size: float) -> int:
    """Move what the legends of some axes say into one below the figure; return its lines.

    Parameters
    ----------
    figure : Figure
        Laid out by constraints, which make room for it.
    panels : iterable of Axes
    size : float
        Of the letters, in points.
    """
    entries: dict[str, Any] = {}
    room = 72 * figure.get_figwidth() / size
    title = ""
    for ax in panels:
        legend = ax.get_legend()
        if legend is None:
            continue
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            entries.setdefault(_wrapped(text.get_text(), room), handle)
        title = legend.get_title().get_text().replace("\n", " ")
        legend.remove()
    if not entries:
        return 0
    side_by_side = columns(entries, room)
    figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", frameon=False,
        fontsize=size, ncols=side_by_side,
        title=title or None, title_fontsize=size,
    )  # fmt: skip
    lines = sum(entry.count("\n") + 1 for entry in entries)
    return bool(title) - (-lines // side_by_side)


def _wrapped(entry: str, room: float) -> str:
    """Return an entry in as many lines as it needs not to be wider than the figure."""
    letters = max(1, int((room - BESIDE) / LETTER))
    return "\n".join(fill(line, letters) for line in entry.split("\n"))


def columns(entries: Iterable[str], room: float) -> int:
    """Return in how many columns some entries stand side by side.

    Parameters
    ----------
    entries : iterable of str
    room : float
        Width of the figure over the letters' height.
    """
    lines = [line for entry in entries for line in entry.split("\n")]
    longest = LETTER * max(map(len, lines)) + BESIDE
    return max(1, min(MOST, len(lines), int(room / longest)))
