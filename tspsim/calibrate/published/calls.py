"""The protocols of a recipe: fitted to its calls, and held against those kept from the fit."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean
from typing import NamedTuple

import numpy as np

from tspsim.calibrate.published import curves, protocols
from tspsim.calibrate.published.recipes import CallRecipe, Recipe
from tspsim.calibrate.published.rows import Call, Rows
from tspsim.collectives.choose import AUTO
from tspsim.files.errors import UserError
from tspsim.files.shipped import shipped
from tspsim.program.types import CollectiveKind
from tspsim.topology.evidence import Evidence, Residuals
from tspsim.topology.graph import Topology
from tspsim.topology.hardware import Protocol
from tspsim.topology.load import load_file, parse_profile
from tspsim.topology.reducing import adding_up

#: Smaller messages are a matter of latency alone: they say nothing about those of training.
_SMALLEST = 2**20

#: But for what serving libraries have for them.
_SERVING = ("one_shot", "two_shot")


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


class Compared(NamedTuple):
    """A call, what the simulator says of it, and by which algorithm."""

    call: Call
    seconds: float
    algorithm: str


@dataclass(frozen=True, slots=True)
class Judged:
    """One part of a recipe: its calls, beside what the protocols say of them.

    Parameters
    ----------
    label : str
    nodes : int
    fitted, kept : tuple of Compared
        Those that were fitted to, and those that were not; what every third size says when it is
        kept from a fit to the others, where nothing was kept for good.
    note : str
        Whose rows they are, where another device was measured.
    own : bool
        They are of the device's own links, or of such as it has.
    """

    label: str
    nodes: int
    fitted: tuple[Compared, ...]
    kept: tuple[Compared, ...]
    note: str = ""
    own: bool = True

    @property
    def quality(self) -> Quality:
        """How well the protocols meet the calls."""
        error = _error(self.kept) if self.kept else None
        residual = _error(self.fitted) if self.fitted else None
        return Quality(len(self.fitted), residual, len(self.kept), error, self.note)


def with_protocols(topology: str, ways: Sequence[Protocol]) -> Topology:
    """Return a node with a profile of these protocols and nothing else; its switch only passes on.

    What a library did without reduction in the switch is fitted without it.
    """
    made = load_file(topology, parse_profile({"name": "fitted"}))
    profile = replace(made.profile, protocols=tuple(ways))
    return adding_up(replace(made, profile=profile), switches=False)


def place_of(part: CallRecipe, recipe: Recipe, ways: Sequence[Protocol]) -> Topology:
    """Return the topology that calls were measured on, with some protocols."""
    setup = shipped("published") / "setups" / f"{part.setup}.yaml"
    name = str(setup) if part.setup else recipe.topology
    topology = with_protocols(name, ways)
    if part.by in _SERVING:
        return replace(topology, profile=replace(topology.profile, serving=True))
    return adding_up(topology) if part.by == "in_switch" else topology


def protocols_of(recipe: Recipe, rows: Rows) -> tuple[Protocol, ...]:
    """Return the protocols of a recipe, those for all kinds first."""
    return tuple(way for parts in _sets(recipe) for way in _fitted(recipe, parts, rows))


def _sets(recipe: Recipe) -> list[tuple[CallRecipe, ...]]:
    """Return what is fitted together: all kinds, then what has protocols of its own."""
    sets: dict[tuple[str | int, ...], list[CallRecipe]] = {}
    for part in sorted(recipe.fitted, key=lambda part: part.only):
        key = (part.kind, part.by, part.setup, part.most) if part.only else ()
        sets.setdefault(key, []).append(part)
    return [tuple(parts) for parts in sets.values()]


def _fitted(recipe: Recipe, parts: tuple[CallRecipe, ...], rows: Rows) -> tuple[Protocol, ...]:
    first = parts[0]
    calls, _ = _split(recipe, parts, rows)
    ways = [
        _scoped(way, first, calls[0].ranks) for way in protocols.fit(_seen(calls, recipe, first))
    ]
    kinds = (first.kind if first.only else None, *first.also)
    return tuple(
        replace(way, collective=kind, own_part=0.0 if kind == "shift" else way.own_part)
        for kind in kinds
        for way in ways
    )


def _scoped(way: Protocol, part: CallRecipe, members: int) -> Protocol:
    """Return a fitted line with what the recipe says it holds for."""
    if part.per_member:
        each = float(f"{way.latency / (members - 1) * 1e6:.2f}e-6")
        way = replace(way, latency=0.0, per_member=each)
    return replace(
        way, algorithm=part.by or None, network=bool(part.setup), first=float(part.first),
        fewest=part.fewest, last=float(part.last or math.inf),
        most=part.most,
    )  # fmt: skip


def _seen(calls: Sequence[Call], recipe: Recipe, part: CallRecipe) -> list[protocols.Observation]:
    """Return calls beside what their links state."""
    stated = place_of(part, recipe, ())
    return [protocols.observe(call, stated, part.by or AUTO) for call in calls]


def _split(
    recipe: Recipe, wanted: Sequence[CallRecipe], rows: Rows
) -> tuple[tuple[Call, ...], tuple[Call, ...]]:
    """Return the calls that are fitted, and those that are kept from the fit."""
    fitted: list[Call] = []
    kept: list[Call] = []
    for part in wanted:
        calls = _calls(recipe, part, rows)
        sizes = sorted({call.bytes for call in calls})
        unseen = set(sizes[1 :: curves.FOLDS]) if part.ranks else set()
        for call in calls:
            out = call.ranks in part.unseen or call.bytes in unseen
            (kept if out else fitted).append(call)
    return tuple(fitted), tuple(kept)


def _calls(recipe: Recipe, part: CallRecipe, rows: Rows) -> list[Call]:
    """Return the rows of a part."""
    device, counts = part.device or recipe.device, (*part.ranks, *part.unseen)
    key = (device, part.source, part.kind, part.algorithm)
    calls = [
        call
        for call in rows.calls
        if (call.device, call.source, call.kind, call.algorithm) == key
        and call.bytes >= part.smallest
        and (not counts or call.ranks in counts)
    ]
    if not calls:
        raise UserError(f"{device}: no rows of '{part.source}' for {part.kind}")
    return calls


def judge(recipe: Recipe, ways: Sequence[Protocol], rows: Rows) -> tuple[Judged, ...]:
    """Return every part of a recipe with what the simulator gives for its calls."""
    fitted = [_judged(recipe, parts, ways, rows) for parts in _sets(recipe)]
    return (*fitted, *(_checked(recipe, part, ways, rows) for part in recipe.checked))


def _judged(
    recipe: Recipe, parts: tuple[CallRecipe, ...], ways: Sequence[Protocol], rows: Rows
) -> Judged:
    first = parts[0]
    calls, kept = _split(recipe, parts, rows)
    where = place_of(first, recipe, ways)
    found = _compared(kept, where)
    if not kept:
        seen = protocols.held_out(_seen(calls, recipe, first))
        by_size = {call.bytes: call for call in calls}
        found = tuple(
            Compared(by_size[o.bytes], seconds, _algorithm(by_size[o.bytes], where))
            for o, seconds in seen
        )
    others = Counter(c.device for c in calls if c.device != recipe.device)
    note = ", ".join(f"{count} rows of {device}" for device, count in others.items())
    nodes = 2 if first.setup else 1
    fitted = _compared(calls, where)
    return Judged(first.label, nodes, fitted, found, note, own=not first.reason)


def _checked(recipe: Recipe, part: CallRecipe, ways: Sequence[Protocol], rows: Rows) -> Judged:
    more = f", {part.algorithm}" if part.algorithm else ""
    kept = _compared(_calls(recipe, part, rows), place_of(part, recipe, ways))
    return Judged(f"{part.kind}, {part.source}{more}", 1, (), kept)


def _compared(calls: Sequence[Call], where: Topology) -> tuple[Compared, ...]:
    return tuple(
        Compared(call, protocols.predict(call, where), _algorithm(call, where)) for call in calls
    )


def _algorithm(call: Call, where: Topology) -> str:
    return protocols.plan_of(call, where).algorithm


def evidence_of(judged: Sequence[Judged]) -> tuple[Evidence, ...]:
    """Return the residuals of the calls that were kept, by kind and span, of the device's own."""
    found: dict[tuple[CollectiveKind, str, int, int], list[float]] = {}
    for part in judged:
        for call, seconds, algorithm in part.kept if part.own else ():
            if call.bytes >= _SMALLEST or algorithm in _SERVING:
                key = (call.kind, algorithm, call.ranks // part.nodes, part.nodes)
                found.setdefault(key, []).append(math.log(call.seconds / seconds))
    return tuple(Evidence(*key, residuals=_residuals(logs)) for key, logs in sorted(found.items()))


def _residuals(logs: Sequence[float]) -> Residuals:
    low, high = np.quantile(logs, (0.1, 0.9))
    return Residuals(len(logs), round(mean(logs), 4), round(float(low), 4), round(float(high), 4))


def _error(compared: Sequence[Compared]) -> float:
    return mean(abs(seconds / call.seconds - 1) for call, seconds, _ in compared)
