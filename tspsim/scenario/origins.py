"""Where every value of a scenario came from: its file, an override, or a file that it names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from tspsim.files.errors import Problem
from tspsim.files.source import AtKey, KeyPath, Source, dotted
from tspsim.scenario.counts import Counts
from tspsim.scenario.overrides import Override
from tspsim.schedules.orders.reading import Written


@dataclass(frozen=True, slots=True)
class Mount:
    """A file whose values stand in a scenario, because the scenario names it.

    Parameters
    ----------
    path : tuple of str or int
        Where in the scenario: ``("topology", "device")``.
    source : Source, Written or Counts
        Of a schedule, the file with its rows; of a routing, that with its counts.
    renamed : Mapping
        Key in the scenario -> path in the file, where these differ.
    """

    path: KeyPath
    source: Source | Written | Counts
    renamed: Mapping[str, KeyPath] = field(default_factory=lambda: MappingProxyType({}))

    def inside(self, path: KeyPath) -> KeyPath:
        """Return a path of the scenario as a path of the file."""
        rest = path[len(self.path) :]
        return (*self.renamed.get(str(rest[0]), rest[:1]), *rest[1:]) if rest else rest


@dataclass(frozen=True, slots=True)
class Origins:
    """Turns a problem into a line with the place that the user has to change.

    Parameters
    ----------
    source : Source
        The scenario's file.
    root : tuple of str or int
        Where the scenario stands inside the file: ``("document",)`` in a result.json.
    overrides : tuple of Override
    mounts : tuple of Mount
    """

    source: Source
    root: KeyPath = ()
    overrides: tuple[Override, ...] = ()
    mounts: tuple[Mount, ...] = ()

    def line(self, problem: Problem) -> str:
        """Return ``place: path: message``: the override's, the scenario's or the named file's."""
        override = self._override(problem.path)
        mount = self._named_by(override, problem.path) if override else self._mount(problem.path)
        if override and not mount:
            return f"{override.place}: {dotted(problem)}"
        if mount:
            return mount.source.line(type(problem)(mount.inside(problem.path), problem.message))
        at_key = isinstance(problem, AtKey)
        place = self.source.place((*self.root, *problem.path), key=at_key)
        return f"{place}: {dotted(problem)}"

    def _override(self, path: KeyPath) -> Override | None:
        """Return the last override that set the value in question, or a parent of it.

        What no file holds belongs to the override that brought it in by a path through it.
        """
        words = tuple(map(str, path))
        added = not self.source.has((*self.root, *path))
        for override in reversed(self.overrides):
            key = tuple(map(str, override.path))
            if words[: len(key)] == key or (added and key[: len(words)] == words):
                return override
        return None

    def _named_by(self, override: Override, path: KeyPath) -> Mount | None:
        """Return the file that holds a value, when an override names it and has no such value."""
        own = Source(override.text, override.value, None)
        if own.has(path[len(override.path) :]):
            return None
        named = (m for m in reversed(self.mounts) if override.path == m.path == path[: len(m.path)])
        return next((m for m in named if m.source.has(m.inside(path))), None)

    def _mount(self, path: KeyPath) -> Mount | None:
        """Return the named file that a value stands in; None when the scenario's own file does.

        A value that stands nowhere (a missing key) belongs to the innermost file that could hold
        it.
        """
        if self.source.has((*self.root, *path)):
            return None
        inner = [m for m in reversed(self.mounts) if path[: len(m.path)] == m.path]
        inner.sort(key=lambda mount: len(mount.path), reverse=True)
        return next((m for m in inner if m.source.has(m.inside(path))), next(iter(inner), None))
