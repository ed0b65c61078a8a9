"""Legends below a figure: one for all of its axes."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend


def below(figure: Figure, panels: Iterable[Axes], columns: int, size: float) -> Legend | None:
    """Move what the legends of some axes say into one below the figure, each thing once.

    Parameters
    ----------
    figure : Figure
        Laid out by constraints, which make room for it.
    panels : iterable of Axes
    columns : int
        At most.
    size : float
        Of the letters, in points.
    """
    entries: dict[str, Any] = {}
    title = ""
    for ax in panels:
        legend = ax.get_legend()
        if legend is None:
            continue
        for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
            entries.setdefault(text.get_text(), handle)
        title = legend.get_title().get_text().replace("\n", " ")
        legend.remove()
    if not entries:
        return None
    return figure.legend(
        list(entries.values()), list(entries), loc="outside lower center", frameon=False,
        fontsize=size, ncols=min(columns, len(entries)), title=title or None, title_fontsize=size,
    )  # fmt: skip
