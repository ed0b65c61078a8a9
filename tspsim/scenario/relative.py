"""Overrides of what a scenario's files say: ``xN``, and ``device.``, ``link.`` and ``nic.``.

These are applied after every named file was read in, because only then is there something to
multiply. ``device.KEY``, ``link.KEY`` and ``nic.KEY`` stand for the device, the link and the NIC of
the topology, or of its nodes, wherever the topology holds them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

from tspsim.files.errors import did_you_mean
from tspsim.files.source import KeyPath
from tspsim.scenario.overrides import Override, apply
from tspsim.topology.factors import factor, scaled

__all__ = ["SHORT", "apply_late", "factor", "paths", "present", "scaled", "split"]

#: What an override may begin with in place of ``topology.device``, ``.link`` and ``.nic``.
SHORT = ("device", "link", "nic")
#: Keys named at most where one is not there.
_NAMED = 3


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
            lines.append(f"{override.place}: {_no_holder(whole, str(override.path[0]))}")
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
        near = _nearest(whole, override.path)
        raise ValueError(f"there is no '{dotted}' that could be multiplied by {times}{near}")
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


def _no_holder(whole: Mapping[str, Any], part: str) -> str:
    """Return what to say where a topology holds no device, link or NIC."""
    others = [o for o in SHORT if any(True for _ in _holders(whole.get("topology"), (), o))]
    has = f"; it has: {', '.join(others)}" if others else ""
    return f"the topology has no '{part}' of its own{has}"


def _nearest(whole: Mapping[str, Any], path: KeyPath) -> str:
    """Return ``" (did you mean 'link.bandwidth'?)"``, or an empty string."""
    known = list(dict.fromkeys(_short(each) for each in _numbers(whole, ())))
    asked = _short(path)
    parent, _, last = asked.rpartition(".")
    # What ends as the path does, else what stands beside it, else what looks like it.
    if alike := [each for each in known if each.endswith(f".{asked}")][:_NAMED]:
        return f" (did you mean {' or '.join(map(repr, alike))}?)"
    if beside := [each for each in known if parent and each.rpartition(".")[0] == parent]:
        words = [each.rpartition(".")[2] for each in beside]
        near = did_you_mean(last, words).replace("'", f"'{parent}.", 1)
        return near or (f"; it has: {', '.join(words)}" if parent in SHORT else "")
    return did_you_mean(asked, known)


def _numbers(value: Any, path: KeyPath) -> Iterator[KeyPath]:
    """Yield the paths at which something can be multiplied: numbers, and mappings of these."""
    try:
        if len(path) > 1 and not isinstance(value, bool):
            scaled(value, Decimal(1))
            yield path
    except ValueError:
        pass
    if isinstance(value, Mapping):
        for key, inner in value.items():
            if key != "source":
                yield from _numbers(inner, (*path, key))


def _short(path: KeyPath) -> str:
    """Return a path as it may be written: without where in the topology a device or link is."""
    words = list(map(str, path))
    place = 1
    while words[0] == "topology" and words[place : place + 1] == ["node"]:
        place += 1
    if words[0] == "topology" and words[place : place + 1] and words[place] in SHORT:
        words = words[place:]
    return ".".join(words)
