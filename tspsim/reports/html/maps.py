"""The winner map of a sweep over two numeric axes, drawn to scale."""

from __future__ import annotations

from tspsim.files.errors import UserError
from tspsim.output.pictures import svg
from tspsim.reports.html.sources import Swept
from tspsim.reports.maps import drawing


def winner_map(swept: Swept) -> str:
    """Return the winner map as an svg element; empty where this sweep has none."""
    axes = [axis for axis in swept.store.axes if axis.key in swept.settings[0].axes]
    scales = [axis for axis in axes if axis.numeric and len(axis.values) > 1]
    if not swept.contested or len(axes) != 2 or len(scales) != 2:
        return ""
    try:
        return svg(drawing.figure("winner", swept.store))
    except UserError:  # the sweep's points are no grid that it can draw
        return ""
