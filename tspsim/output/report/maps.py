"""The winner map of a sweep over two numeric axes, drawn to scale, where maps can be drawn."""

from __future__ import annotations

import importlib
from importlib.util import find_spec

from tspsim.errors import UserError
from tspsim.output.pictures import svg
from tspsim.output.report.sources import Swept

#: What draws maps of a sweep: ``figure(kind, store)``.
DRAWING = "tspsim.output.maps.drawing"


def winner_map(swept: Swept) -> str:
    """Return the winner map as an svg element; empty where this sweep has none."""
    axes = [axis for axis in swept.store.axes if axis.key in swept.settings[0].axes]
    scales = [axis for axis in axes if axis.numeric and len(axis.values) > 1]
    if not swept.contested or len(axes) != 2 or len(scales) != 2:
        return ""
    if find_spec(DRAWING.rpartition(".")[0]) is None:
        return ""
    try:
        return svg(importlib.import_module(DRAWING).figure("winner", swept.store))
    except UserError:  # the sweep's points are no grid that it can draw
        return ""
