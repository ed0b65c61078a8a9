"""From rows and a recipe to a profile, with the error of each of its parts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean

from tspsim.calibrate.published import curves, protocols, tables
from tspsim.calibrate.published.recipes import CallRecipe, CurveRecipe, Recipe
from tspsim.calibrate.published.rows import Call, Point, Rows
from tspsim.calibrate.published.tables import FittedTables
from tspsim.collectives.choose import AUTO
from tspsim.files.errors import UserError
from tspsim.files.shipped import shipped
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Curve, Profile, Protocol
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.reducing import adding_up

#: Whose matmuls say how a stand-in's efficiencies carry over: the best that a sweep found.
_BEST = "mamf"


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a part of a profile meets its rows; the mean absolute relative errors of times.

    Parameters
    ----------
    rows : int
        That it was fitted to.
    residual : float or None
        On those.
    held_out : int
        Rows kept from a fit.
    error : float or None
        On those; None: nothing was held out.
    note : str
        Whose rows they are, where they are not the device's own.
    """

    rows: int
    residual: float | None
    held_out: int = 0
    error: float | None = None
    note: str = ""


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
    fitted, checked, shown : tuple of Call
        The calls of the recipe.
    qualities : tuple of (str, Quality)
        By curve, table, collective or check.
    tables : FittedTables or None
    """

    recipe: Recipe
    curves: tuple[FittedCurve, ...]
    protocols: tuple[Protocol, ...]
    fitted: tuple[Call, ...]
    checked: tuple[Call, ...]
    shown: tuple[Call, ...]
    qualities: tuple[tuple[str, Quality], ...]
    tables: FittedTables | None = None

    @property
    def profile(self) -> Profile:
        """The profile as simulations use it."""
        pairs = tuple((part.recipe.curve, part.curve) for part in self.curves)
        return Profile(self.recipe.name, pairs, protocols=self.protocols)

    @property
    def topology(self) -> Topology:
        """The node with this profile."""
        return with_protocols(self.recipe.topology, self.protocols)

    @property
    def used(self) -> tuple[str, ...]:
        """The names of the sources, in order of use."""
        points = [point.source for part in self.curves for point in (*part.points, *part.own)]
        calls = [call.source for call in (*self.fitted, *self.checked)]
        return tuple(dict.fromkeys((*points, *calls)))


def with_protocols(topology: str, ways: Sequence[Protocol]) -> Topology:
    """Return a node with a profile of these protocols and nothing else; its switch only passes on.

    What a library did without reduction in the switch is fitted without it.
    """
    stated = [
        {
            "latency": f"{w.latency!r} s", "efficiency": w.efficiency, "collective": w.collective,
            "algorithm": w.algorithm, "network": w.network, "first": f"{w.first!r} B",
        }
        for w in ways
    ]  # fmt: skip
    made = load_file(topology, parse_profile({"name": "fitted", "protocols": stated}))
    return adding_up(made, switches=False)


def place_of(part: CallRecipe, recipe: Recipe, ways: Sequence[Protocol]) -> Topology:
    """Return the topology that calls were measured on, with some protocols."""
    setup = shipped("published") / "setups" / f"{part.setup}.yaml"
    name = str(setup) if part.setup else recipe.topology
    topology = with_protocols(name, ways)
    return adding_up(topology) if part.by == "in_switch" else topology


def fit(recipe: Recipe, rows: Rows) -> Fitted:
    """Return the profile of a recipe.

    Raises
    ------
    UserError
        When a part of the recipe has no rows.
    """
    made = tuple(_curve(part, recipe.device, rows) for part in recipe.curves)
    fitted = _calls(recipe, recipe.fitted, rows)
    checked = _calls(recipe, recipe.checked, rows)
    shown = _calls(recipe, recipe.shown, rows)
    ways = tuple(way for parts in _sets(recipe) for way in _protocols(recipe, parts, rows))
    qualities = [quality for part in made for quality in _curve_qualities(part, recipe.device)]
    measured = tables.fit(recipe.tables, recipe.backward, rows.points) if recipe.tables else None
    if measured:
        qualities += _table_qualities(measured, recipe.device, rows)
    qualities += _call_qualities(recipe, ways, fitted, checked)
    return Fitted(recipe, made, ways, fitted, checked, shown, tuple(qualities), measured)


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


def _sets(recipe: Recipe) -> list[tuple[CallRecipe, ...]]:
    """Return what is fitted together: all kinds, then every kind with protocols of its own."""
    together = tuple(part for part in recipe.fitted if not part.only)
    return [together, *((part,) for part in recipe.fitted if part.only)]


def _protocols(recipe: Recipe, parts: tuple[CallRecipe, ...], rows: Rows) -> tuple[Protocol, ...]:
    first = parts[0]
    stated = place_of(first, recipe, ())
    calls = _calls(recipe, parts, rows)
    ways = protocols.fit([protocols.observe(call, stated, first.by or AUTO) for call in calls])
    only = first.kind if first.only else None
    return tuple(
        replace(
            way, collective=only, algorithm=first.by or None, network=bool(first.setup),
            first=float(first.first),
        )
        for way in ways
    )  # fmt: skip


def _best(rows: Rows, device: str) -> float:
    found = [
        p.efficiency
        for p in rows.points
        if (p.curve, p.device, p.source) == ("matmul", device, _BEST)
    ]
    if not found:
        raise UserError(f"{device}: no row of '{_BEST}' says how a stand-in carries over")
    return max(found)


def _calls(recipe: Recipe, wanted: Sequence[CallRecipe], rows: Rows) -> tuple[Call, ...]:
    found: list[Call] = []
    for part in wanted:
        device = part.device or recipe.device
        key = (device, part.source, part.kind, part.algorithm)
        calls = [
            call
            for call in rows.calls
            if (call.device, call.source, call.kind, call.algorithm) == key
            and call.bytes >= part.smallest
        ]
        if not calls:
            raise UserError(f"{device}: no rows of '{part.source}' for {part.kind}")
        found += calls
    return tuple(found)


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


def _call_qualities(
    recipe: Recipe, ways: Sequence[Protocol], fitted: Sequence[Call], checked: Sequence[Call]
) -> list[tuple[str, Quality]]:
    """Return the errors of what the simulator itself gives for the calls."""
    topology = with_protocols(recipe.topology, ways)
    found: list[tuple[str, Quality]] = []
    for parts in _sets(recipe):
        first = parts[0]
        stated, fitting = (place_of(first, recipe, some) for some in ((), ways))
        names = {(part.source, part.kind, part.algorithm) for part in parts}
        calls = [c for c in fitted if (c.source, c.kind, c.algorithm) in names]
        seen = [protocols.observe(c, stated, first.by or AUTO) for c in calls]
        held_out = protocols.held_out_error(seen)
        kept = 0 if held_out is None else len(calls)
        others = Counter(c.device for c in calls if c.device != recipe.device)
        note = ", ".join(f"{count} rows of {device}" for device, count in others.items())
        quality = Quality(len(calls), _error(calls, fitting), kept, held_out, note)
        found.append((first.label, quality))
    for part in recipe.checked:
        calls = [c for c in checked if (c.source, c.kind) == (part.source, part.kind)]
        error = _error(calls, topology)
        found.append((f"{part.kind}, {part.source}", Quality(0, None, len(calls), error)))
    return found


def _error(calls: Sequence[Call], topology: Topology) -> float:
    return mean(abs(protocols.predict(call, topology) / call.seconds - 1) for call in calls)
