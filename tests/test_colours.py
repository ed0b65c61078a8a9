"""The colours of the plots, as people with other colour vision and black-and-white print show them.

How colours are seen: the matrices of Machado, Oliveira and Fernandes (2009), "A
Physiologically-based Model for Simulation of Color Vision Deficiency", severity 1.0, on linear RGB.
How far apart two are: the distance in CIE L*a*b* (1976), of which about 2.3 can just be noticed.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations, pairwise

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from tspsim.output.plots import pipeline, style
from tspsim.reports.maps.groups import LOOKS

VISION = {
    "full": np.eye(3),
    "protanopia": np.array([
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ]),
    "deuteranopia": np.array([
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ]),
    "tritanopia": np.array([
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ]),
}  # fmt: skip
#: Distance of two classes of a picture at least; in lightness, of two that touch.
APART, LIGHTNESS = 15.0, 9.0

#: A colour and a hatch, by the name of what is drawn so.
Classes = Mapping[str, tuple[str, str]]


def _of(*styles: style.Style) -> Classes:
    return {each.name: (each.colour, each.hatch) for each in styles}


PICTURES: dict[str, Classes] = {
    "gantt": _of(*style.COMPUTE.values(), *style.COMMUNICATION.values()),
    "memory": {name: (colour, "") for name, colour in style.MEMORY.items()}
    | {style.BESIDE: (style.RESERVED, "")},
    "pipeline": {name: (colour, "") for name, colour in pipeline.KINDS.values()}
    | {"bubble": (style.PALE_GREY, ""), "sums": (style.PURPLE, "")},
    "maps": {line + marker: (colour, line + marker) for colour, marker, line in LOOKS},
}
#: What lies upon each other in a column, in its order: whoever has no colours sees only lightness.
STACKS = {
    "memory of training": (style.RESERVED, *map(style.MEMORY.__getitem__, (
        "weight", "gradient", "optimizer", "activation", "workspace"))),
    "memory of inference": (style.RESERVED, *map(style.MEMORY.__getitem__, (
        "weight", "activation", "workspace", "kv_cache"))),
    "compute": tuple(each.colour for each in style.COMPUTE.values()),
    "passes": (style.BLUE, style.GREEN, style.PALE_GREY),
}  # fmt: skip


def linear(colour: str) -> NDArray[np.float64]:
    """Return a colour as linear RGB."""
    values = np.array(to_rgb(colour))
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return linear RGB as L*a*b* under D65."""
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = to_xyz @ np.clip(rgb, 0, 1) / np.array([0.9505, 1.0, 1.089])
    fx, fy, fz = (np.cbrt(v) if v > 0.008856 else 7.787 * v + 16 / 116 for v in (x, y, z))
    return np.array([116 * fy - 16, 500 * (fx - fy), 200 * (fy - fz)])


def distance(one: str, other: str, seen: NDArray[np.float64]) -> float:
    """Return how far apart two colours are to some eyes."""
    return float(np.linalg.norm(lab(seen @ linear(one)) - lab(seen @ linear(other))))


def test_the_distance_is_that_of_the_textbook() -> None:
    """Black and white are 100 apart to any eyes; red and green far less to one who sees no red."""
    for seen in VISION.values():
        assert distance("#000000", "#FFFFFF", seen) == pytest.approx(100, abs=0.5)
    pair = ("#D55E00", "#8DB93F")
    assert distance(*pair, VISION["full"]) > 3 * distance(*pair, VISION["deuteranopia"])


@pytest.mark.parametrize("picture", PICTURES)
@pytest.mark.parametrize("eyes", VISION)
def test_classes_of_a_picture_are_told_apart(picture: str, eyes: str) -> None:
    """By colour, or by hatch, marker or line where two share one."""
    for (one, (a, hatch)), (other, (b, other_hatch)) in combinations(PICTURES[picture].items(), 2):
        apart = distance(a, b, VISION[eyes])
        assert apart >= APART or hatch != other_hatch, f"{one}, {other}: {apart:.1f}"


@pytest.mark.parametrize("stack", STACKS)
def test_what_lies_upon_each_other_differs_in_print_too(stack: str) -> None:
    """Without any colour neighbours still are lighter or darker."""
    greys = [lab(linear(colour))[0] for colour in STACKS[stack]]
    pairs = combinations(greys, 2) if stack == "compute" else pairwise(greys)
    assert min(abs(a - b) for a, b in pairs) >= LIGHTNESS
