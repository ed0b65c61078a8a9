"""From a study to its points: every combination of values, strategies written out, filtered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from tspsim.files.errors import ScenarioError, UserError
from tspsim.registry import STRATEGIES
from tspsim.scenario.loader import Opened
from tspsim.scenario.relative import SHORT, factor, paths, present
from tspsim.sweeps import values
from tspsim.sweeps.options import lacks, named_with_schedule, owners
from tspsim.sweeps.strategies import alternatives
from tspsim.sweeps.study import Study
from tspsim.topology.load import parse

#: More points than this want to be confirmed.
MOST_POINTS = 100_000

#: Sections that change the hardware and leave the recorded programs as they are.
HARDWARE = frozenset({"topology", "timing", "network", "memory", "engine", *SHORT})


@dataclass(frozen=True, slots=True)
class Point:
    """One scenario of a sweep.

    Parameters
    ----------
    id : int
        Its place among all points of the study, from 0.
    axes : tuple of (str, object)
        The value of every axis; None where the point's strategy does not have the option.
    overrides : tuple of str
        What makes it of the study's scenario.
    reason : str
        Why it cannot be run, where that is known already.
    """

    id: int
    axes: tuple[tuple[str, Any], ...]
    overrides: tuple[str, ...]
    reason: str = ""

    @property
    def programs(self) -> tuple[str, ...]:
        """What its recorded programs depend on: points alike in it are best run together."""
        return tuple(o for o in self.overrides if o.partition("=")[0].split(".")[0] not in HARDWARE)


def points(study: Study, *, allow_many: bool = False) -> list[Point]:
    """Return all points of a study, in the order of its axes.

    Parameters
    ----------
    study : Study
    allow_many : bool
        Accept more than `MOST_POINTS`.

    Raises
    ------
    UserError
        When there is no point, or there are too many, or an axis is no strategy's of them.
    """
    if not study.axes:
        raise UserError("no axis: give at least one KEY=VALUE,VALUE, or a study file with 'axes'")
    count = study.count()
    if count > MOST_POINTS and not allow_many:
        raise UserError(
            f"{count:,} points; more than {MOST_POINTS:,} want to be confirmed with --yes"
        )
    if foreign := _foreign(study):
        raise UserError("\n".join(foreign))
    found = list(_kept(study))
    if not found:
        told = ", ".join(f"'{each.text}'" for each in study.filters)
        raise UserError(f"no point is left: none of {count:,} passes {told}")
    return found


def _foreign(study: Study) -> list[str]:
    """Return a line for every option that is none of any strategy of a study."""
    known, left = _Scenario(study.opened), {a.key for a in study.axes if _is_option(a.key)}
    asked: dict[str, None] = {}
    for assigned in _grid(study) if left else ():
        for axes, strategy, _ in known.written_out(assigned):
            asked |= {named_with_schedule(strategy): None} if strategy else {}
            lacking = strategy is not None
            left -= {k for k in left if not lacking or axes[k] is not None or assigned[k] is None}
        if not left:
            return []
    return [
        f"axis '{key}': found {', '.join(asked)}, which have no such option; "
        f"those that have it: {', '.join(owners(key.removeprefix('strategy.')))}"
        for key in sorted(left)
    ]


def _kept(study: Study) -> Iterator[Point]:
    known = _Scenario(study.opened)
    seen: set[tuple[Any, ...]] = set()
    for assigned in _grid(study):
        for axes, strategy, reason in known.written_out(assigned):
            lookup = known.lookup(axes, strategy)
            if not all(each.keeps(lookup) for each in study.filters):
                continue
            point = Point(len(seen), tuple(axes.items()), _overrides(axes, strategy), reason)
            key = (point.overrides, reason)
            # Options that a strategy does not have would make the same point several times.
            if key not in seen:
                seen.add(key)
                yield point


def _grid(study: Study) -> Iterator[dict[str, Any]]:
    """Yield the value of every axis at every point, in the order of the axes."""
    groups = study.groups()
    order = [axis.key for axis in study.axes]
    for rows in itertools.product(*(group.rows for group in groups)):
        pairs = [zip(g.keys, row, strict=True) for g, row in zip(groups, rows, strict=True)]
        assigned = dict(itertools.chain.from_iterable(pairs))
        yield {key: assigned[key] for key in order}


def _overrides(axes: Mapping[str, Any], strategy: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the overrides of a point: a strategy that is written out, then the axes."""
    if strategy is None:
        return tuple(f"{key}={values.text_of(value)}" for key, value in axes.items())
    first = f"strategy={_flow(strategy)}"
    rest = ((k, v) for k, v in axes.items() if k.partition(".")[0] != "strategy")
    return (first, *(f"{key}={values.text_of(value)}" for key, value in rest))


def _flow(mapping: Mapping[str, Any]) -> str:
    """Return a mapping as people write it in one line of YAML."""
    texts = {k: v if isinstance(v, str) and v.isidentifier() else json.dumps(v)
             for k, v in mapping.items()}  # fmt: skip
    return "{" + ", ".join(f"{key}: {text}" for key, text in texts.items()) + "}"


class _Scenario:
    """What the points of a study need to know of its scenario."""

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._base = opened.data()
        strategy = self._base.get("strategy")
        self._strategy = strategy if isinstance(strategy, dict) else {}
        self._devices = cache(self._count_devices)

    def written_out(
        self, axes: dict[str, Any]
    ) -> Iterator[tuple[dict[str, Any], dict[str, Any] | None, str]]:
        """Yield the axes, the whole strategy, and a reason against it, for every alternative."""
        stated = _stated(axes)
        if stated is None:
            yield axes, None, ""
            return
        STRATEGIES.get(str(stated["kind"]))  # an unknown name is told before anything runs
        given = {k.removeprefix("strategy."): v for k, v in axes.items() if _is_option(k)}
        devices, nodes = self._devices(self._hardware(axes))
        found = alternatives(stated, given, self._strategy, devices, nodes)
        if not found:
            kind = stated["kind"]
            reason = f"{kind}: no two degrees of at least 2 make the {devices} devices"
            yield axes, {"kind": kind}, reason
        for strategy in found:
            yield {k: None if _lacks(strategy, k) else v for k, v in axes.items()}, strategy, ""

    def _hardware(self, axes: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the overrides that may change the number of devices."""
        return tuple(
            f"{key}={values.text_of(value)}"
            for key, value in axes.items()
            if key.split(".")[0] == "topology" and not key.endswith((".bandwidth", ".latency"))
        )

    def _count_devices(self, overrides: tuple[str, ...]) -> tuple[int, int]:
        """Return the numbers of devices and nodes; 1 of a wrong topology, as running it tells."""
        try:
            data = self._opened.data(overrides) if overrides else self._base
            form = parse(data["topology"])
            return form.count(), len(set(form.node_numbers())) or 1
        except (ScenarioError, ValueError, KeyError, TypeError):
            return 1, 1

    def lookup(
        self, axes: Mapping[str, Any], strategy: Mapping[str, Any] | None
    ) -> Callable[[str], Any]:
        """Return what tells the value of a key at a point; None: there is nothing to compare.

        That is an option that the point's strategy does not have, or a point whose scenario cannot
        be read, which running it will tell.
        """
        whole = cache(lambda: self._whole(axes, strategy))

        def find(key: str) -> Any:
            option = key.removeprefix("strategy.")
            if strategy is not None and option != key:
                first, *nested = option.split(".")
                field = STRATEGIES.get(strategy["kind"]).model_fields.get(first)
                stated = strategy.get(first, field and field.get_default())
                return present(stated, tuple(nested)) if nested else stated
            if key in axes and not _is_special(key, axes[key]):
                return axes[key]
            data = whole()
            if data is None:
                return None
            told = (present(data, path) for path in paths(data, tuple(key.split("."))))
            value = next((value for value in told if value is not None), None)
            return self._default(key) if value is None else value

        return find

    def _whole(
        self, axes: Mapping[str, Any], strategy: Mapping[str, Any] | None
    ) -> dict[str, Any] | None:
        """Return the scenario of a point, as far as it differs from the study's own."""
        if not any(_is_special(key, value) for key, value in axes.items()):
            return self._base
        try:
            return self._opened.data(_overrides(axes, strategy))
        except ScenarioError:
            return None

    def _default(self, key: str) -> Any:
        """Return what a key is where nobody states it."""
        value = present(self._resolved, tuple(key.split(".")))
        if value is None and not key.startswith("strategy."):
            raise UserError(f"filters: '{key}' has no value in this scenario")
        return value

    @cached_property
    def _resolved(self) -> Mapping[str, Any]:
        try:
            return self._opened.scenario().document
        except ScenarioError:
            return {}


def _is_special(key: str, value: Any) -> bool:
    """Say whether an axis changes more than its own key, or its key otherwise than it says."""
    path = tuple(key.split("."))
    is_file = path[-1] in ("file", "hf") or not isinstance(value, int | float | str)
    return path[0] in SHORT or is_file or factor(path, value) is not None or len(path) == 1


def _stated(axes: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the kind of strategy that the axes ask for, with its stated options; None: none."""
    whole = axes.get("strategy", {})
    stated = dict(whole) if isinstance(whole, Mapping) else {"kind": whole}
    if "strategy.kind" in axes:
        stated["kind"] = axes["strategy.kind"]
    return stated if isinstance(stated.get("kind"), str) else None


def _is_option(key: str) -> bool:
    return key.startswith("strategy.") and key != "strategy.kind"


def _lacks(strategy: Mapping[str, Any], key: str) -> bool:
    """Say whether a key is an option that a strategy does not have."""
    return _is_option(key) and lacks(strategy, key.removeprefix("strategy."))
