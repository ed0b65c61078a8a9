"""Sphinx extension: the names that a module makes public, each with its docstring.

In a Markdown document ``<!-- names: tspsim -->`` stands for all that ``tspsim.__all__`` has, and
``<!-- names: tspsim.mesh: Mesh -->`` for some names of a module. In the repository nothing of it is
seen.
"""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

from sphinx.application import Sphinx

import tspsim

#: In the order in which they are shown.
_KINDS = ("autofunction", "autoclass", "autoexception", "autodata")
_MARK = re.compile(r"^<!-- names: ([\w.]+)(?:: ([\w, ]+))? -->$", re.MULTILINE)


def kind(module: str, name: str) -> str:
    """Return the directive that shows a name."""
    found = getattr(importlib.import_module(module), name)
    if inspect.isclass(found):
        return "autoexception" if issubclass(found, BaseException) else "autoclass"
    return "autofunction" if callable(found) else "autodata"


def shown(match: re.Match[str]) -> str:
    """Return what stands for a mark."""
    module, names = match[1], match[2]
    listed = re.split(r", *", names) if names else importlib.import_module(module).__all__
    found = sorted((_KINDS.index(kind(module, n)), n) for n in listed if not n.startswith("__"))
    body = "\n".join(f".. {_KINDS[which]}:: {module}.{name}\n" for which, name in found)
    return f"```{{eval-rst}}\n{body}```"


def is_field(_app: Sphinx, _what: str, _name: str, found: Any, _skip: bool, _o: Any) -> bool | None:
    """Skip the fields of named tuples, which have no docstrings of their own."""
    return True if type(found).__name__ == "_tuplegetter" else None


def of_command(
    _app: Sphinx, _what: str, _name: str, found: Any, _options: Any, lines: list[str]
) -> None:
    """Give a package that is called as a command the docstring of the command's function."""
    if isinstance(found, tspsim.Command):
        lines[:] = (inspect.getdoc(found._function) or "").splitlines()


def read(_app: Sphinx, _document: str, source: list[str]) -> None:
    """Replace the marks of a document that is about to be read."""
    source[0] = _MARK.sub(shown, source[0])


def setup(app: Sphinx) -> dict[str, bool]:
    """Say to Sphinx what there is."""
    app.connect("source-read", read)
    app.connect("autodoc-skip-member", is_field)
    app.connect("autodoc-process-docstring", of_command, priority=400)  # before napoleon
    return {"parallel_read_safe": True, "parallel_write_safe": True}
