"""Colours, hatches and axes that the plots share.

Most colours are those of Okabe and Ito (2008), "Color Universal Design": people with any kind of
colour vision can tell them apart; tests/test_colours.py measures it.
"""

from __future__ import annotations

from typing import NamedTuple

from matplotlib.axes import Axes

from tspsim.output.plots.paper import figure
from tspsim.program.by_expert import ROUTING
from tspsim.program.types import BufferKind, MessageKind, Op

BLUE, SKY, GREEN = "#0072B2", "#56B4E9", "#009E73"
ORANGE, VERMILLION, YELLOW = "#E69F00", "#D55E00", "#F0E442"
PURPLE, GREY, DARK = "#CC79A7", "#BBBBBB", "#444444"
#: Beside theirs: a green as far from the other as a second kind of the same thing should be.
LIME, PALE_GREY = "#8FD694", "#E6E6E6"
#: A grey that is told from orange in print, and a dark that is told from wine-red.
LIGHT, BLACK = "#D0D0D0", "#1A1A1A"
#: Of Paul Tol's muted colours, two that are darker than all of those: what experts add.
INDIGO, WINE = "#332288", "#882255"


class Style(NamedTuple):
    """How a class of tasks is drawn, and what the legend calls it."""

    name: str
    colour: str
    hatch: str = ""


COMPUTE = {
    "matmul": Style("matmul", BLUE),
    "attention": Style("attention", ORANGE),
    "experts": Style("products of experts", INDIGO),
    "routing": Style("rows to and from experts", WINE),
    "other": Style("norm, element-wise", LIGHT),
}
RECOMPUTED = {
    key: Style(f"{style.name}, recomputed", style.colour, "////") for key, style in COMPUTE.items()
}
_REDUCTION = Style("reduction", PURPLE)
_HALF_HOP = Style("send, receive", SKY, "\\\\\\\\")
COMMUNICATION: dict[MessageKind, Style] = {
    "broadcast": Style("broadcast", GREEN),
    "shift": Style("shift", SKY),
    "send": _HALF_HOP,
    "receive": _HALF_HOP,
    "all_gather": Style("all_gather", YELLOW),
    "reduce": _REDUCTION,
    "reduce_scatter": _REDUCTION,
    "all_reduce": _REDUCTION,
    "all_to_all": Style("all_to_all", BLACK),
}
WAIT = Style("waits for communication", VERMILLION, "xxxxx")
ISSUE = Style("issued by the host", GREY, "....")
HELD = Style("waits for the host", DARK, "xxxxx")
#: How what stands still is drawn, and the ground under its hatch.
WAITS = (WAIT, HELD)
PALE = "#FBE3D4"
#: The order of legends, and of classes in a stack from the bottom up, whatever a run met first.
ORDER = tuple(
    dict.fromkeys((*COMPUTE.values(), *RECOMPUTED.values(), ISSUE, *WAITS, *COMMUNICATION.values()))
)

MEMORY: dict[BufferKind, str] = {
    "weight": BLUE, "gradient": PURPLE, "optimizer": ORANGE, "activation": GREEN,
    "workspace": YELLOW, "kv_cache": SKY,
}  # fmt: skip
#: Of activations by layer, the first one lightest: greens of matplotlib's map, told apart in grey.
LAYERS = (
    "#d3eecd", "#b0dfaa", "#88ce87", "#57b668", "#309950", "#157f3b", "#006227", "#00441b",
)  # fmt: skip
RESERVED = "#DDDDDD"
BESIDE = "runtime and libraries"


def style_of(op: Op) -> Style:
    """Return how a task of an op is drawn."""
    if op.message is not None:
        return COMMUNICATION[op.message.collective]
    name = op.kind.name
    if name == "issue":
        return ISSUE
    return (RECOMPUTED if op.phase == "recompute" else COMPUTE)[_class(name)]


def face_of(style: Style) -> str:
    """Return the ground of a style."""
    return PALE if style in WAITS else style.colour


def edge_of(style: Style) -> str:
    """Return the colour of a style's edges and of its hatch."""
    return style.colour if style in WAITS else "white"


def _class(kind: str) -> str:
    """Return the class of compute that an op kind is of."""
    if kind == "grouped_matmul":
        return "experts"
    if kind in ROUTING:
        return "routing"
    if kind.startswith("attention"):
        return "attention"
    return kind if kind == "matmul" else "other"


def axes(ax: Axes | None, width: float, height: float, *, rows: bool = False) -> Axes:
    """Return the given axes, or those of a new figure of a size in inches: see `paper.figure`."""
    return figure(width, height, rows=rows).add_subplot() if ax is None else ax
