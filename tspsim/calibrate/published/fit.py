"""From rows and a recipe to a profile, with the error of each of its parts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from statistics import mean

from tspsim.calibrate.published import calls, curves, flash, tables
from tspsim.calibrate.published.calls import Quality
from tspsim.calibrate.published.recipes import CurveRecipe, Recipe
from tspsim.calibrate.published.rows import Call, Point, Rows
from tspsim.calibrate.published.tables import FittedTables
from tspsim.files.errors import UserError
from tspsim.topology.evidence import Evidence
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Curve, Profile, Protocol

#: Whose matmuls say how a stand-in's efficiencies carry over: the best that a sweep found.
_BEST = "mamf"


@dataclass(frozen=True, slots=True)
class FittedCurve:
    """One efficiency curve and the points that it comes from.

    Parameters
    ----------
    recipe : CurveRecipe
    curve : Curve
    points : tuple of Point
        As they were fitted: a stand-in's are scaled.
    scale : float
    own : tuple of Point
        The device's own points where another stands in: a check.
    """

    recipe: CurveRecipe
    curve: Curve
    points: tuple[Point, ...]
    scale: float
    own: tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """One profile and everything that it rests on.

    Parameters
    ----------
    recipe : Recipe
    curves : tuple of FittedCurve
    protocols : tuple of Protocol
    fitted, checked : tuple of Call
        The calls that the protocols are fitted to, and those that were kept from the fit.
    qualities : tuple of (str, Quality)
        By curve, table, collective or check.
    evidence : tuple of Evidence
        Of the profile.
    tables : FittedTables or None
    flash : Mapping of str to float
        Efficiency of slower flash kernels / the fastest.
    """

    recipe: Recipe
    curves: tuple[FittedCurve, ...]
    protocols: tuple[Protocol, ...]
    fitted: tuple[Call, ...]
    checked: tuple[Call, ...]
    qualities: tuple[tuple[str, Quality], ...]
    evidence: tuple[Evidence, ...]
    tables: FittedTables | None = None
    flash: Mapping[str, float] = field(default_factory=dict)

    @property
    def profile(self) -> Profile:
        """The profile as simulations use it."""
        pairs = tuple((part.recipe.curve, part.curve) for part in self.curves)
        return Profile(self.recipe.name, pairs, protocols=self.protocols)

    @property
    def topology(self) -> Topology:
        """The node with this profile."""
        return calls.with_protocols(self.recipe.topology, self.protocols)

    @property
    def used(self) -> tuple[str, ...]:
        """The names of the sources, in order of use."""
        points = [point.source for part in self.curves for point in (*part.points, *part.own)]
        said = [call.source for call in (*self.fitted, *self.checked)]
        return tuple(dict.fromkeys((*points, *said)))


def fit(recipe: Recipe, rows: Rows) -> Fitted:
    """Return the profile of a recipe.

    Raises
    ------
    UserError
        When a part of the recipe has no rows.
    """
    made = tuple(_curve(part, recipe.device, rows) for part in recipe.curves)
    ways = calls.protocols_of(recipe, rows)
    qualities = [quality for part in made for quality in _curve_qualities(part, recipe.device)]
    measured = tables.fit(recipe.tables, recipe.backward, rows.points) if recipe.tables else None
    if measured:
        qualities += _table_qualities(measured, recipe.device, rows)
    judged = calls.judge(recipe, ways, rows)
    qualities += [(part.label, part.quality) for part in judged]
    fitted = tuple(each.call for part in judged for each in part.fitted)
    kept = (each.call for part in judged for each in part.kept)
    checked = tuple(call for call in kept if call not in fitted)
    evidence = calls.evidence_of(judged)
    kernels = flash.factors(rows, recipe.flash)
    return Fitted(
        recipe, made, ways, fitted, checked, tuple(qualities), evidence, measured, kernels
    )


def _curve(recipe: CurveRecipe, device: str, rows: Rows) -> FittedCurve:
    scale = _best(rows, device) / _best(rows, recipe.device) if recipe.scaled else 1.0
    points = tuple(
        Point(p.curve, p.device, p.source, p.label, p.size, p.efficiency * scale)
        for p in rows.points
        if (p.curve, p.device) == (recipe.curve, recipe.device)
    )
    if not points:
        raise UserError(f"{device}: no rows for the curve '{recipe.curve}' of {recipe.device}")
    own = tuple(
        p
        for p in rows.points
        if (p.curve, p.device) == (recipe.curve, device)
        and recipe.device != device
        and not (recipe.scaled and p.source == _BEST)  # the scale comes from it
    )
    return FittedCurve(recipe, curves.fit(points), points, scale, own)


def _best(rows: Rows, device: str) -> float:
    found = [
        p.efficiency
        for p in rows.points
        if (p.curve, p.device, p.source) == ("matmul", device, _BEST)
    ]
    if not found:
        raise UserError(f"{device}: no row of '{_BEST}' says how a stand-in carries over")
    return max(found)


def _curve_qualities(part: FittedCurve, device: str) -> list[tuple[str, Quality]]:
    note = ""
    if part.recipe.device != device:
        note = f"rows of {part.recipe.device}"
        note += f", efficiencies times {part.scale:.3f}" if part.recipe.scaled else ""
    held_out = curves.held_out_error(part.points)
    count = len(part.points)
    kept = 0 if held_out is None else count
    residual = curves.error(part.curve, part.points)
    name = part.recipe.curve
    found = [(name, Quality(count, residual, kept, held_out, note))]
    if part.own:
        error = curves.error(part.curve, part.own)
        found.append((f"{name}, own rows", Quality(0, None, len(part.own), error)))
    return found


def _table_qualities(found: FittedTables, device: str, rows: Rows) -> Iterator[tuple[str, Quality]]:
    """Yield how well tables hold between their rows, and for published rows."""
    for name, about, note in tables.stated(found):
        seen, held_out = about["shapes"], about["held_out"]
        yield name, Quality(seen, about["residual"], held_out, about["error"], note)
    note = "" if found.device == device else f"rows of {found.device}"
    count = len(found.points)
    yield "attention_backward table", Quality(count, found.residual, count, found.error, note)
    for name, deviations in tables.checks(found, device, rows.points):
        error = mean(abs(deviation) for deviation in deviations)
        yield name, Quality(0, None, len(deviations), error)
