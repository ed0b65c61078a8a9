"""Finds strategies, schedules, collectives, topologies, plots and exports by name: a file each.

The name of a thing is the name of the module that holds it, so adding one file adds one name and
nothing else changes; a name that no module can have (``1f1b``) is the module's ``NAME``. Other
packages add theirs as entry points of the same shape, name and module, and are found wherever they
are installed, in worker processes too. A program that runs by itself may add one with
:meth:`Registry.register`.
"""

from __future__ import annotations

import importlib
import pkgutil
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

from tspsim.files.errors import UnknownNameError, UserError


class Outside(NamedTuple):
    """An entry point of another package: a name, the module that it names, and whose it is."""

    name: str
    module: str
    package: str


class Registry:
    """The public modules of one package, and those of other packages, looked up by name.

    Parameters
    ----------
    what : str
        What an entry is called in messages, for example ``"strategy"``.
    package : str
        Dotted name of the package whose modules are the entries. A module takes part when it
        defines `marker`; others in the folder (helpers) do not.
    marker : str
        Name of the attribute that makes a module an entry.
    group : str, optional
        The group of entry points in which other packages name theirs.
    """

    def __init__(self, what: str, package: str, marker: str, group: str | None = None) -> None:
        self._what, self._package, self._marker, self._group = what, package, marker, group
        self._entries: dict[str, Any] | None = None  # modules, or `Outside` names of one
        self._registered: dict[str, ModuleType | Any] = {}

    def _load(self) -> dict[str, Any]:
        if self._entries is None:
            package = importlib.import_module(self._package)
            names = (info.name for info in pkgutil.iter_modules(package.__path__))
            modules = ((name, importlib.import_module(f"{self._package}.{name}")) for name in names)
            own = {getattr(m, "NAME", n): m for n, m in modules if hasattr(m, self._marker)}
            self._entries = {**self._outside(own), **own}
        return self._entries

    def _outside(self, own: dict[str, Any]) -> dict[str, Outside]:
        """Return the entries of other packages: imported when asked for, so a broken one waits."""
        if self._group is None:
            return {}
        found: dict[str, Outside] = {}
        for point in entry_points(group=self._group):
            if point.name in own or point.name in found:
                raise UserError(
                    f"package '{_package(point)}' names a {self._what} '{point.name}' that is "
                    "there already; call it something else"
                )
            found[point.name] = Outside(point.name, point.value, _package(point))
        return found

    def _imported(self, point: Outside) -> ModuleType:
        what = f"{self._what} '{point.name}' of package '{point.package}'"
        try:
            module = importlib.import_module(point.module)
        except Exception as error:  # whatever a module does while it is imported
            told = f"{type(error).__name__}: {error}"
            raise UserError(f"{what}: {told}") from error
        if not hasattr(module, self._marker):
            raise UserError(f"{what}: module '{point.module}' has no '{self._marker}'")
        return module

    def names(self) -> tuple[str, ...]:
        """Return the known names, sorted.

        Raises
        ------
        UserError
            When another package names an entry that is there already.
        """
        return tuple(sorted(self._load()))

    def get(self, name: str) -> Any:
        """Return the marked object of an entry.

        Raises
        ------
        UnknownNameError
            When no entry has that name.
        UserError
            When it is another package's and cannot be imported, or has no such object.
        """
        entries = self._load()
        if name not in entries:
            raise UnknownNameError(self._what, name, entries)
        entry = entries[name]
        module = self._imported(entry) if isinstance(entry, Outside) else entry
        return getattr(module, self._marker)

    def register(self, name: str, entry: ModuleType | Any) -> None:
        """Add an entry from outside the package: anything that carries the marker attribute.

        Processes that this one starts know it too when it is a module that they can import.
        """
        self._load()[name] = self._registered[name] = entry

    def registered(self) -> dict[str, str]:
        """Return the modules that were registered by hand, by name: for other processes."""
        modules = {n: e.__name__ for n, e in self._registered.items() if isinstance(e, ModuleType)}
        return {name: module for name, module in modules.items() if module != "__main__"}


def _package(point: Any) -> str:
    return str(point.dist.name if point.dist else point.value)


STRATEGIES = Registry("strategy", "tspsim.strategies", "STRATEGY", "tspsim.strategies")
COLLECTIVES = Registry("collective algorithm", "tspsim.collectives", "plan", "tspsim.collectives")
SCHEDULES = Registry("pipeline schedule", "tspsim.schedules", "SCHEDULE", "tspsim.schedules")
TOPOLOGIES = Registry("topology kind", "tspsim.topology.generators", "Spec", "tspsim.topologies")
PLOTS = Registry("plot", "tspsim.output.plots", "plot")
MAPS = Registry("map", "tspsim.reports.maps", "plot")
EXPORTS = Registry("format", "tspsim.output.exports", "export")

#: Modules by name, for each of the registries below.
Modules: TypeAlias = tuple[dict[str, str], ...]

#: Those that other packages may add to.
OPEN = (STRATEGIES, COLLECTIVES, SCHEDULES, TOPOLOGIES)


def registered() -> Modules:
    """Return what was registered by hand with each open registry, to tell another process."""
    return tuple(registry.registered() for registry in OPEN)


def register_all(modules: Modules) -> None:
    """Register what another process has registered, by importing it here."""
    for registry, named in zip(OPEN, modules, strict=True):
        for name, module in named.items():
            registry.register(name, importlib.import_module(module))
