"""A sweep seen as a contest: at every setting, candidates, and one of them is the fastest.

Axes of the strategy make candidates; all others (lengths, links, devices) make settings.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tspsim.analysis.apart import Apart
from tspsim.files.between import between
from tspsim.output.units import time, time_unit
from tspsim.sweeps import values
from tspsim.sweeps.contest import apart
from tspsim.sweeps.speed import speed_of_row
from tspsim.sweeps.store import Row

#: Options of a strategy that its mesh shows already.
_IN_MESH = frozenset({"strategy.kind", "strategy.degree", "strategy.tp", "strategy.sp"})


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting and who ran there.

    Parameters
    ----------
    axes : Mapping
        The value of every axis that makes settings.
    ranked : tuple of Row
        Those that fit, the most tokens per second first.
    others : tuple of Row
        Those that do not fit, or could not run.
    """

    axes: Mapping[str, Any]
    ranked: tuple[Row, ...]
    others: tuple[Row, ...]

    @property
    def margin(self) -> float | None:
        """How much faster the first is than the second, as a fraction; None without a second."""
        if len(self.ranked) < 2:
            return None
        first, second = (rate(row) for row in self.ranked[:2])
        return first / second - 1

    @property
    def lead(self) -> Apart | None:
        """How sure it is that the first is faster than the second; None: unknown."""
        return apart(*self.ranked[:2]) if len(self.ranked) > 1 else None

    @property
    def draw(self) -> bool:
        """Whether the first cannot be told from the second."""
        return self.lead is not None and self.lead.draw


def rate(row: Row) -> float:
    """Return tokens per second; of inference those of all steps."""
    return speed_of_row(row.figures)


def step_time(row: Row) -> str:
    """Return a step's time, and where it lies, if that is known; of inference all steps'."""
    found, low = row.figures, row.figures.get("step_time_low")
    if low is None:
        return time(found.get("inference.latency", found["step_time"]))
    bounds = between(low, found["step_time_high"], time_unit(found["step_time"]))
    return f"{time(found['step_time'])} ({bounds})"


def is_of_strategy(key: str) -> bool:
    """Say whether an axis makes candidates."""
    return key.partition(".")[0] == "strategy"


@dataclass(frozen=True, slots=True)
class Names:
    """What candidates are called.

    Parameters
    ----------
    by_mesh : bool
        By their degrees (``"tsp 8"``), not by their kind alone (``"tsp"``): the degrees stay the
        same over the settings, or tell several of one kind apart.
    """

    by_mesh: bool

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Names:
        """Return how the candidates of a sweep are told apart."""
        meshes: dict[str, set[str]] = defaultdict(set)
        seen: dict[tuple[tuple[str, ...], str, str], set[str]] = defaultdict(set)
        for row in rows:
            kind, mesh = _kind(row), row.figures.get("mesh", "")
            meshes[kind].add(mesh)
            seen[_place(row), kind, _options(row)].add(mesh)
        changes = any(len(found - {""}) > 1 for found in meshes.values())
        alone = all(len(found - {""}) < 2 for found in seen.values())
        return cls(not (changes and alone))

    def name(self, row: Row) -> str:
        """Return what a row's candidate is called."""
        mesh = row.figures.get("mesh", "") if self.by_mesh else ""
        options = _options(row)
        return (mesh or _kind(row)) + (f" ({options})" if options else "")

    def full(self, row: Row) -> str:
        """Return a row's candidate, and at which setting."""
        told = (f"{short(k)} {shown(v)}" for k, v in row.axes.items() if not is_of_strategy(k))
        return ", ".join(part for part in (self.name(row), *told) if part)


def _kind(row: Row) -> str:
    whole = row.axes.get("strategy", row.axes.get("strategy.kind"))
    if isinstance(whole, dict):
        return str(whole.get("kind", ""))
    return str(whole) if whole is not None else str(row.figures.get("mesh", ""))


def _options(row: Row) -> str:
    """Return the options of a row's strategy that its mesh does not show."""
    whole = row.axes.get("strategy")
    inside = {f"strategy.{k}": v for k, v in whole.items()} if isinstance(whole, dict) else {}
    outside = {k: v for k, v in row.axes.items() if k.startswith("strategy.")}
    told = {k: v for k, v in (inside | outside).items() if k not in _IN_MESH and v is not None}
    return ", ".join(f"{short(key)} {shown(value)}" for key, value in told.items())


def short(key: str) -> str:
    """Return the last word of a key: what an axis is called in a table."""
    return key.rpartition(".")[2].replace("_", " ")


def shown(value: Any) -> str:
    """Return an axis' value as people read it."""
    if value is None:
        return ""
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return values.label(value)


def number(key: str, value: Any) -> float:
    """Return an axis' value in SI units; 0 when it is no number."""
    return Row(0, {key: value}, "ok").number(key) or 0.0


def settings(rows: Sequence[Row]) -> tuple[Setting, ...]:
    """Return the settings of a sweep in the order of the study, with who ran at each.

    Axes with but one value tell no settings apart; they are left out where others do.
    """
    keys = _telling(rows)
    groups: dict[tuple[str, ...], list[Row]] = defaultdict(list)
    for row in rows:
        groups[_place(row)].append(row)
    found = []
    for group in groups.values():
        axes = {key: group[0].axes[key] for key in keys}
        fitting = [row for row in group if row.status == "ok"]
        ranked = sorted(fitting, key=lambda row: (-rate(row), row.figures["memory.peak"]))
        others = tuple(row for row in group if row.status != "ok")
        found.append(Setting(axes, tuple(ranked), others))
    return tuple(found)


def _telling(rows: Sequence[Row]) -> list[str]:
    """Return the axes that make settings."""
    seen: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        for key, value in row.axes.items():
            if not is_of_strategy(key):
                seen[key].add(values.label(value))
    several = [key for key, labels in seen.items() if len(labels) > 1]
    return several or list(seen)


def _place(row: Row) -> tuple[str, ...]:
    return tuple(values.label(v) for k, v in row.axes.items() if not is_of_strategy(k))


def best_setting(found: Sequence[Setting]) -> Setting | None:
    """Return the setting to look at closely: two that fit, if possible, and the best rate."""
    able = [setting for setting in found if setting.ranked]
    if len(able) > 1 and all(len(setting.ranked) + len(setting.others) == 1 for setting in able):
        # No strategy varies: the best two points of all are what there is to compare.
        ranked = sorted((setting.ranked[0] for setting in able), key=lambda row: -rate(row))
        return Setting({}, tuple(ranked), ())
    return max(
        able, key=lambda s: (len(s.ranked) > 1, _per_device(s.ranked[0])), default=None
    )  # fmt: skip


def _per_device(row: Row) -> float:
    found = float(row.figures["tokens_per_second_per_device"])
    return found if math.isfinite(found) else 0.0
