"""Writes the profiles and the pictures: a pure function of the committed rows."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from tspsim.calibrate.published.fit import fit
from tspsim.calibrate.published.recipes import RECIPES
from tspsim.calibrate.published.rows import Rows
from tspsim.calibrate.published.text import profile_text


def profiles(rows: Rows) -> Iterator[tuple[str, str]]:
    """Yield the name of every profile's file and what stands in it."""
    for recipe in RECIPES:
        yield f"{recipe.name}.yaml", profile_text(fit(recipe, rows), rows)


def pictures(rows: Rows, folder: Path) -> None:
    """Draw ``profile-<device>.png`` for every profile."""
    from tspsim.calibrate.published.picture import draw

    for recipe in RECIPES:
        device = recipe.name.removesuffix("-published")
        draw(fit(recipe, rows), folder / f"profile-{device}.png")
