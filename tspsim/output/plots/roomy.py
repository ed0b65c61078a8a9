"""Texts that are drawn only where they have room, however wide a picture comes out."""

from __future__ import annotations

from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text

#: Part of its room that a text may take, unless another one is given.
FULL = 0.85


class Roomy(Text):
    """A text in the middle between two places along x, left out where it is wider than that.

    Where the middle is not their mean, as on a logarithmic axis, it is stated; `full` is the part
    of its room that the text may take.
    """

    def __init__(
        self,
        ends: tuple[float, float],
        y: float,
        text: str,
        middle: float | None = None,
        full: float = FULL,
        **style: Any,
    ) -> None:
        x = sum(ends) / 2 if middle is None else middle
        super().__init__(x, y, text, ha="center", va="center", clip_on=True, **style)
        self._ends, self._full = ends, full
        self.set_in_layout(False)

    def has_room(self, renderer: RendererBase) -> bool:
        """Say whether the text fits."""
        assert self.axes is not None
        low, high = self.axes.transData.transform([(x, 0.0) for x in self._ends])[:, 0]
        return bool(self.get_window_extent(renderer).width <= self._full * (high - low))

    def draw(self, renderer: RendererBase, *args: Any, **kwargs: Any) -> None:
        """Draw the text, if it fits."""
        if self.has_room(renderer):
            super().draw(renderer, *args, **kwargs)
