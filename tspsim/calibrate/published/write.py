"""Writes the profiles and the pictures: a pure function of the committed rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

from tspsim.calibrate.published import judge, mixtures, steps, whole
from tspsim.calibrate.published.fit import Fitted, fit
from tspsim.calibrate.published.mixtures import Foreseen
from tspsim.calibrate.published.recipes import RECIPES
from tspsim.calibrate.published.rows import Rows
from tspsim.calibrate.published.rows import load as load_rows
from tspsim.calibrate.published.steps import Step
from tspsim.calibrate.published.text import profile_text
from tspsim.calibrate.published.whole import Whole
from tspsim.topology.load import parse_profile


def profiles(folder: Path, foreseen: Sequence[Foreseen]) -> Iterator[tuple[str, str]]:
    """Yield the name of every profile's file and what stands in it.

    Parameters
    ----------
    folder : Path
        Of the published rows.
    foreseen : sequence of Foreseen
        Those of mixtures of experts, as they were played last.
    """
    rows, published = load_rows(folder), steps.load(folder)
    experts = mixtures.residuals(mixtures.load(folder), foreseen)
    fits = {recipe.device: fit(recipe, rows) for recipe in RECIPES}
    sources = {recipe.long for recipe in RECIPES}
    by_source = {name: _sustained(name, fits, rows, published) for name in sources}
    found = {recipe.device: by_source[recipe.long] for recipe in RECIPES}
    measured = {recipe.device for recipe in RECIPES if recipe.steps}
    profiles = {d: _mapping(fits[d], rows, Whole(found[d])) for d in measured}
    judged = judge.judge(published, profiles)
    for device, fitted in fits.items():
        if device in measured:
            of_steps = whole.of_device(judged, device, found[device], experts)
        else:
            of_steps = Whole(found[device])
        yield f"{fitted.recipe.name}.yaml", profile_text(fitted, rows, of_steps)


def _sustained(
    source: str, fits: Mapping[str, Fitted], rows: Rows, published: Sequence[Step]
) -> float:
    """Return what the device of a source of steps sustains; 1 where there is none."""
    device = next((step.device for step in published if step.source == source), None)
    if device is None:
        return 1.0
    return whole.long_runs(published, source, _mapping(fits[device], rows, Whole()))


def _mapping(fitted: Fitted, rows: Rows, of_steps: Whole) -> dict[str, Any]:
    """Return what a profile's file says."""
    from ruamel.yaml import YAML

    text = profile_text(fitted, rows, of_steps)
    found: dict[str, Any] = YAML(typ="safe", pure=True).load(text)
    return found


def pictures(folder: Path, target: Path) -> None:
    """Draw ``profile-<device>.png`` for every profile, from a folder of rows; and the curves."""
    from tspsim.calibrate.published.picture import draw

    rows = load_rows(folder)
    for recipe in RECIPES:
        device = recipe.name.removesuffix("-published")
        draw(fit(recipe, rows), target / f"profile-{device}.png")
    curves_picture(target)


def curves_picture(target: Path) -> None:
    """Draw ``collectives-published.png``: every curve of a collective and its rows."""
    from tspsim.calibrate.published.measured import CURVES, FIRST, LAST
    from tspsim.reports.curves import Panel, draw_curves

    sizes = [2 ** (k / 4) for k in range(10 * 4, 34 * 4 + 1)]
    panels = []
    for found in CURVES:
        error = mean(abs(d) for d in found.deviations())
        dots = [(float(r.bytes), r.bus_bandwidth) for r in found.rows() if sizes[0] <= r.bytes]
        title = f"{found.title}: {error:.1%} off on average"
        panels.append(Panel(title, found.predicted(sizes), [("published", dots)]))
    title = (
        "Collectives as published, and as simulated with the shipped profiles; "
        f"errors are those of times from {FIRST >> 20} MiB to {LAST >> 30} GiB"
    )
    draw_curves(panels, target / "collectives-published.png", 3, title)


def quality() -> str:
    """Return the table of how well the parts of every shipped profile fit."""
    lines = [f"{'':34} {'rows':>5} {'residual':>9} {'held out':>9} {'error':>7}"]
    for recipe in RECIPES:
        form = parse_profile(recipe.name)
        lines.append(form.name)
        for part, found in form.fits.items():
            figures = [_percent(found.residual), str(found.held_out or "-"), _percent(found.error)]
            cells = f"{found.rows or '-':>5} {figures[0]:>9} {figures[1]:>9} {figures[2]:>7}"
            lines.append(f"  {part:32} {cells}  {found.source}".rstrip())
    return "\n".join(lines) + "\n"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
