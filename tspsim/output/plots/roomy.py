"""Texts that are drawn only where they have room, however wide a picture comes out."""

from __future__ import annotations

from typing import Any

from matplotlib.backend_bases import RendererBase
from matplotlib.text import Text

#: Part of its room that a text may take.
FULL = 0.85


class Roomy(Text):
    """A text in the middle between two places along x, left out where it is wider than that."""

    def __init__(self, ends: tuple[float, float], y: float, text: str, **style: Any) -> None:
        super().__init__(
            sum(ends) / 2, y, text, ha="center", va="center", clip_on=True, **style
        )  # fmt: skip
        self._ends = ends
        self.set_in_layout(False)

    def has_room(self, renderer: RendererBase) -> bool:
        """Say whether the text fits."""
        assert self.axes is not None
        low, high = self.axes.transData.transform([(x, 0.0) for x in self._ends])[:, 0]
        return bool(self.get_window_extent(renderer).width <= FULL * (high - low))

    def draw(self, renderer: RendererBase, *args: Any, **kwargs: Any) -> None:
        """Draw the text, if it fits."""
        if self.has_room(renderer):
            super().draw(renderer, *args, **kwargs)
