"""Overrides of what a scenario's files say: ``bandwidth=x2``, and ``device.`` and ``link.``.

These are applied after every named file was read in, because only then is there something to
multiply. ``device.KEY`` and ``link.KEY`` stand for the device and the link of the topology, or of
its nodes, wherever the topology holds them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tspsim.scenario.overrides import Override, apply
from tspsim.source import KeyPath

_FACTOR = re.compile(r"x((?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_AMOUNT = re.compile(r"\s*([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)\s*([^\s\d.+-].*?)\s*")

#: Keys whose value is a text, whatever it looks like.
_TEXTS = frozenset({"name", "kind", "file", "hf", "profile", "source"})

#: What an override may begin with in place of ``topology.device`` and ``topology.link``.
SHORT = frozenset({"device", "link"})


def factor(path: KeyPath, value: Any) -> Decimal | None:
    """Return N of a relative value ``"xN"`` for a key; None for any other value."""
    match = _FACTOR.fullmatch(value) if isinstance(value, str) else None
    return Decimal(match[1]) if match and path[-1] not in _TEXTS else None


def split(overrides: Sequence[Override]) -> tuple[tuple[Override, ...], tuple[Override, ...]]:
    """Return the overrides for before the named files are read in, and those for after.

    Of two for the same key the later one counts, also where one of them is relative.
    """
    last = {override.path: override for override in overrides}
    early = tuple(o for o in overrides if not _is_late(o))
    late = tuple(o for o in overrides if _is_late(o) and last[o.path] is o)
    return early, late


def _is_late(override: Override) -> bool:
    return override.path[0] in SHORT or factor(override.path, override.value) is not None


def apply_late(
    whole: dict[str, Any], overrides: Sequence[Override]
) -> tuple[dict[str, Any], tuple[Override, ...], list[str]]:
    """Return a copy of an expanded scenario with late overrides in it.

    Parameters
    ----------
    whole : dict
        The scenario's keys with every named file read in.
    overrides : sequence of Override

    Returns
    -------
    dict, tuple of Override, list of str
        The copy; the overrides as they were applied, with whole paths and absolute values; a line
        for everything that could not be.
    """
    done: list[Override] = []
    lines: list[str] = []
    for override in overrides:
        found = list(paths(whole, override.path))
        if not found:
            lines.append(f"{override.place}: the topology has no '{override.path[0]}' of its own")
        for path in found:
            try:
                value = _value(whole, replace(override, path=path))
            except ValueError as error:
                lines.append(f"{override.place}: {error}")
            else:
                done.append(replace(override, path=path, value=value))
        whole, more = apply(whole, [o for o in done if o.text == override.text])
        lines += more
    return whole, tuple(done), lines


def paths(whole: Mapping[str, Any], path: KeyPath) -> Iterator[KeyPath]:
    """Yield the whole paths that an override's path stands for."""
    if path[0] not in SHORT:
        yield path
        return
    for holder in _holders(whole.get("topology"), ("topology",), str(path[0])):
        yield (*holder, *path[1:])


def _holders(topology: Any, at: KeyPath, part: str) -> Iterator[KeyPath]:
    """Yield where a topology, and the nodes in it, hold their devices or links."""
    if not isinstance(topology, Mapping):
        return
    if part in topology:
        yield (*at, part)
    several = topology.get(f"{part}s")
    if isinstance(several, list):
        yield from ((*at, f"{part}s", i) for i in range(len(several)))
    yield from _holders(topology.get("node"), (*at, "node"), part)


def _value(whole: Mapping[str, Any], override: Override) -> Any:
    """Return what an override sets: its value, or the present one multiplied."""
    times = factor(override.path, override.value)
    if times is None:
        return override.value
    there = present(whole, override.path)
    if there is None:
        dotted = ".".join(map(str, override.path))
        raise ValueError(f"there is no '{dotted}' that could be multiplied by {times}")
    return scaled(there, times)


def present(whole: Any, path: KeyPath) -> Any:
    """Return the value at a path; None where there is none."""
    for part in path:
        if isinstance(whole, Mapping):
            whole = whole.get(str(part))
        elif isinstance(whole, list) and isinstance(part, int) and part < len(whole):
            whole = whole[part]
        else:
            return None
    return whole


def scaled(value: Any, times: Decimal) -> Any:
    """Return a number, a quantity, or a mapping of these, multiplied.

    Raises
    ------
    ValueError
        When it is something else.

    Examples
    --------
    >>> scaled("450 GB/s", Decimal("0.5"))
    '225 GB/s'
    >>> scaled({"bf16": "1 TFLOP/s"}, Decimal(2))
    {'bf16': '2 TFLOP/s'}
    """
    if isinstance(value, Mapping) and value:
        return {k: v if k == "source" else scaled(v, times) for k, v in value.items()}
    if isinstance(value, int | float) and not isinstance(value, bool):
        exact = Decimal(repr(value)) * times
        whole = isinstance(value, int) and exact == exact.to_integral_value()
        return int(exact) if whole else float(exact)
    match = _AMOUNT.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError(f"{value!r} is no number or quantity that could be multiplied by {times}")
    exact = (Decimal(match[1]) * times).normalize()
    text = f"{exact:f}" if abs(exact.adjusted()) < 25 else str(exact)
    return f"{text} {match[2]}"
