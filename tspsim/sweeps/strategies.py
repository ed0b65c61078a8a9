"""What ``strategy.kind=tp`` alone stands for: the options that make a strategy fit the hardware."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from tspsim.files.source import KeyPath
from tspsim.registry import STRATEGIES
from tspsim.scenario.relative import present
from tspsim.strategies.base import StrategyOptions
from tspsim.sweeps.options import path_of, stages_of, with_options


def alternatives(
    stated: Mapping[str, Any],
    given: Mapping[str, Any],
    base: Mapping[str, Any],
    devices: int,
    nodes: int = 1,
) -> list[dict[str, Any]]:
    """Return the ways to write a strategy out, whose ranks are as many as there are devices.

    A strategy with one degree gets all devices, one with none as many replicas; one with two, every
    pair of degrees of at least 2 that multiplies to their number. Over several nodes every node has
    a replica of its own, unless a degree or the number of replicas is stated, or the scenario's own
    strategy fills the devices without any. Other options are those of the scenario's own strategy,
    as far as this one has them, and the strategy's defaults.

    Parameters
    ----------
    stated : Mapping
        ``kind``, and the options that the axis itself states.
    given : Mapping
        Options that other axes state, ``dp`` or ``pp.stages``; those that this strategy does not
        have are left out, and so are those that it states itself.
    base : Mapping
        The scenario's own strategy.
    devices, nodes : int

    Raises
    ------
    UnknownNameError
        When there is no strategy of that kind.
    """
    form: type[StrategyOptions] = STRATEGIES.get(str(stated["kind"]))
    degrees = form.degrees()
    # Degrees are for this strategy to find, and a placement names the axes of its own strategy.
    left = {*degrees, *(() if base.get("kind") == stated["kind"] else ("placement",))}
    if degrees and _degrees_of(base) == {}:  # its replicas are all that it splits into
        left.add("dp")
    options = {k: v for k, v in base.items() if k in form.model_fields and k not in left}
    if options.get("experts") and "placement" in left:  # so do the axes that experts lie over
        own = options["experts"].items()
        options["experts"] = {k: v for k, v in own if k not in ("over", "degree")}
    free = {k: v for k, v in given.items() if not _states(stated, path_of(k))}
    options = with_options({**options, **stated}, free)
    missing = [name for name in degrees if name not in options]
    unsaid = "dp" not in options and 0 < len(missing) == len(degrees)
    if unsaid and not _fills(base, devices):
        options |= _replica_per_node(options, nodes)
    outer = _whole(options.get("dp", 1)) * _whole(stages_of(options))
    known = math.prod(_whole(options[name]) for name in degrees if name in options)
    axes = form.replica(dict.fromkeys(degrees, 1))  # those that have no degree
    rest = max(devices // (outer * known * axes), 1)
    if not degrees and "dp" not in options:  # all that it has is replicas
        options["dp"] = rest
    found = [options | degrees_of for degrees_of in _degrees(missing, rest)]
    return [{"kind": stated["kind"], **one} for one in found]


def _degrees_of(base: Mapping[str, Any]) -> dict[str, int] | None:
    """Return the degrees of a scenario's own strategy; None where it names none that is known."""
    if base.get("kind") not in STRATEGIES.names():
        return None
    names = STRATEGIES.get(str(base["kind"])).degrees()
    return {name: _whole(base.get(name)) for name in names}


def _fills(base: Mapping[str, Any], devices: int) -> bool:
    """Say whether one replica of a scenario's own strategy needs all devices."""
    own = _degrees_of(base) or {}
    return math.prod(own.values()) * _whole(stages_of(base)) == devices


def _replica_per_node(options: Mapping[str, Any], nodes: int) -> dict[str, int]:
    """Return as many replicas as keep each within a node, or its stages within as many nodes."""
    stages = _whole(stages_of(options))
    return {"dp": nodes // stages} if nodes > stages and nodes % stages == 0 else {}


def _states(whole: Any, path: KeyPath) -> bool:
    """Say whether a mapping has a key, whatever its value."""
    *parents, last = path
    holder = present(whole, tuple(parents))
    return isinstance(holder, Mapping) and last in holder


def _whole(value: Any) -> int:
    """Return a degree; what is none is left for the scenario's own checks to refuse."""
    return value if isinstance(value, int) and value > 0 else 1


def _degrees(names: list[str], product: int) -> Iterator[dict[str, int]]:
    """Yield values for some degrees that multiply to a product, the first as large as possible."""
    if not names:
        yield {}
        return
    if len(names) == 1:
        yield {names[0]: product}
        return
    for first in range(product // 2, 1, -1):
        if product % first == 0:
            for others in _degrees(names[1:], product // first):
                if all(degree > 1 for degree in others.values()):
                    yield {names[0]: first, **others}
