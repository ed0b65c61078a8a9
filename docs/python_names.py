"""Sphinx extension: names of Python in docstrings are those of Python.

- A short name is what its module calls so, where several things are called so.
- A name that has no page of its own is plain text if there is such a thing; if not, that is told.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform


class ShortNames(SphinxPostTransform):
    """Says in full what a module calls by a short name."""

    default_priority = 5

    def run(self, **_kwargs: Any) -> None:
        """Go through the names of a document."""
        for name in self.document.findall(addnodes.pending_xref):
            if name.get("refdomain") == "py" and "." not in name["reftarget"]:
                found = getattr(_home(name), name["reftarget"], None)
                if isinstance(found, type) and found.__module__.startswith("tspsim"):
                    name["reftarget"] = f"{found.__module__}.{found.__qualname__}"


def _home(name: nodes.Element) -> ModuleType | None:
    """Return the module of the function or class in whose description a name stands."""
    place: nodes.Element | None = name
    while place is not None and not isinstance(place, addnodes.desc):
        place = place.parent
    if place is None or not place[0].get("module"):
        return None
    found = pkgutil.resolve_name(f"{place[0]['module']}:{place[0]['fullname']}")
    return importlib.import_module(getattr(found, "__module__", place[0]["module"]))


def undocumented(
    _app: Sphinx, _env: BuildEnvironment, name: addnodes.pending_xref, shown: nodes.Element
) -> nodes.Element | None:
    """Return the text of a name that is one."""
    if name.get("refdomain") != "py" or not name["reftarget"].startswith("tspsim."):
        return None
    try:
        pkgutil.resolve_name(name["reftarget"])
    except (AttributeError, ImportError):
        return None
    return shown


def setup(app: Sphinx) -> dict[str, bool]:
    """Say to Sphinx what there is."""
    app.add_post_transform(ShortNames)
    app.connect("missing-reference", undocumented)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
