"""All in which the layers of one model differ from each other."""

from __future__ import annotations

from typing import NamedTuple


class LayerKind(NamedTuple):
    """What a layer has: those of one kind do the same work.

    Attributes
    ----------
    window : int or None
        Keys that a query sees: its own and those before it; None: all.
    experts : bool
        It has experts instead of an MLP.
    positions : bool
        Its queries and keys have rotary positions.
    """

    window: int | None
    experts: bool = False
    positions: bool = True
