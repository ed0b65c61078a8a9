"""Finds strategies, collectives, topology generators and plots by name: one file each.

The name of a thing is the name of the module that holds it, so adding one file adds one name and
nothing else changes. Programs that use tspsim may add their own with :meth:`Registry.register`.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from tspsim.files.errors import UnknownNameError


class Registry:
    """The public modules of one package, looked up by name and imported when asked for.

    Parameters
    ----------
    what : str
        What an entry is called in messages, for example ``"strategy"``.
    package : str
        Dotted name of the package whose modules are the entries. A module takes part when it
        defines `marker`; others in the folder (helpers) do not.
    marker : str
        Name of the attribute that makes a module an entry.
    """

    def __init__(self, what: str, package: str, marker: str) -> None:
        self._what, self._package, self._marker = what, package, marker
        self._entries: dict[str, Any] | None = None

    def _load(self) -> dict[str, Any]:
        if self._entries is None:
            package = importlib.import_module(self._package)
            names = (info.name for info in pkgutil.iter_modules(package.__path__))
            modules = ((name, importlib.import_module(f"{self._package}.{name}")) for name in names)
            self._entries = {n: m for n, m in modules if hasattr(m, self._marker)}
        return self._entries

    def names(self) -> tuple[str, ...]:
        """Return the known names, sorted."""
        return tuple(sorted(self._load()))

    def get(self, name: str) -> Any:
        """Return the marked object of an entry.

        Raises
        ------
        UnknownNameError
            When no entry has that name.
        """
        entries = self._load()
        if name not in entries:
            raise UnknownNameError(self._what, name, entries)
        return getattr(entries[name], self._marker)

    def register(self, name: str, entry: ModuleType | Any) -> None:
        """Add an entry from outside the package: anything that carries the marker attribute."""
        self._load()[name] = entry


STRATEGIES = Registry("strategy", "tspsim.strategies", "STRATEGY")
COLLECTIVES = Registry("collective algorithm", "tspsim.collectives", "plan")
TOPOLOGIES = Registry("topology kind", "tspsim.topology.generators", "Spec")
PLOTS = Registry("plot", "tspsim.output.plots", "plot")
MAPS = Registry("map", "tspsim.reports.maps", "plot")
