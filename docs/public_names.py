"""Sphinx extension: the names that a module makes public, each with its docstring.

In a Markdown document ``<!-- names: tspsim -->`` stands for all that ``tspsim.__all__`` has, and
``<!-- names: tspsim.mesh: Mesh -->`` for some names of a module. In the repository nothing of it is
seen.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from sphinx.application import Sphinx

import tspsim

_MARK = re.compile(r"^<!-- names: ([\w.]+)(?:: ([\w, ]+))? -->$", re.MULTILINE)
#: In the order in which they are shown.
_KINDS = ("autofunction", "autoclass", "autoexception", "py:data")
#: Stands for a colon that ends no type.
_COLON = "\N{RATIO}"


def kind(found: Any) -> str:
    """Return the directive that shows a thing."""
    if inspect.isclass(found):
        return "autoexception" if issubclass(found, BaseException) else "autoclass"
    return "autofunction" if callable(found) else "py:data"


def directive(module: str, name: str) -> tuple[int, str]:
    """Return the place of a name among all, and what shows it; of a value that is its type."""
    found = getattr(importlib.import_module(module), name)
    form, which, option = type(found), kind(found), ""
    if which == "py:data":
        option = f"   :type: {form.__module__}.{form.__qualname__}\n"
    elif inspect.isclass(found) and public(found.__bases__):
        option = "   :show-inheritance:\n"
    return _KINDS.index(which), f".. {which}:: {module}.{name}\n{option}"


def _all(module: str) -> list[str]:
    listed: list[str] = importlib.import_module(module).__all__
    return [name for name in listed if not name.startswith("__")]


def _elsewhere(module: str, names: list[str]) -> list[str]:
    """Return the names of what is not shown already as a public name of tspsim itself."""
    public = [getattr(tspsim, name) for name in _all("tspsim")]
    return [n for n in names if getattr(importlib.import_module(module), n) not in public]


def shown(match: re.Match[str]) -> str:
    """Return what stands for a mark."""
    module, names = match[1], match[2]
    listed = _elsewhere(module, re.split(r", *", names)) if names else _all(module)
    found = sorted(directive(module, name) for name in listed)
    return "```{eval-rst}\n" + "\n".join(text for _, text in found) + "```"


def read(_app: Sphinx, _document: str, source: list[str]) -> None:
    """Replace the marks of a document that is about to be read."""
    source[0] = _MARK.sub(shown, source[0])


def is_value(_app: Sphinx, _what: str, _name: str, found: Any, _skip: bool, _o: Any) -> bool | None:
    """Skip plain values and fields: the docstring of their class says what they are."""
    shown = callable(found) or isinstance(
        found, property | cached_property | classmethod | staticmethod
    )
    return None if shown else True


def public(bases: Iterable[type]) -> list[type]:
    """Return those of some classes that are tspsim's and have public names."""
    return [b for b in bases if b.__module__.startswith("tspsim") and b.__name__[0] != "_"]


def own(_app: Sphinx, _name: str, _found: Any, _options: Any, bases: list[type]) -> None:
    """Show no other bases of a class."""
    bases[:] = public(bases)


def before(
    _app: Sphinx, what: str, _name: str, found: Any, _options: Any, lines: list[str]
) -> None:
    """Prepare a docstring: a package that is called as a command has that of its function.

    What stands before a colon of a property is no type here.
    """
    if isinstance(found, tspsim.Command):
        lines[:] = (inspect.getdoc(found._function) or "").splitlines()
    if what == "property" and lines:
        lines[0] = lines[0].replace(":", _COLON)


def behind(_app: Sphinx, what: str, _name: str, _found: Any, _o: Any, lines: list[str]) -> None:
    """Give a property its colons again."""
    if what == "property":
        lines[:] = [line.replace(_COLON, ":") for line in lines]


def brief(
    _app: Sphinx, _what: str, _name: str, _found: Any, _o: Any, signature: str | None, result: str
) -> tuple[str, str] | None:
    """Return a signature in which defaults that are made by a call are dots."""
    if not signature:
        return None
    stated = re.sub("<factory>|Ellipsis", "...", signature)
    parsed: Any = ast.parse(f"def f{stated}: pass").body[0]
    dots = ast.Constant(...)
    for defaults in (parsed.args.defaults, parsed.args.kw_defaults):
        defaults[:] = [dots if isinstance(each, ast.Call) else each for each in defaults]
    return f"({ast.unparse(parsed.args)})", result


def setup(app: Sphinx) -> dict[str, bool]:
    """Say to Sphinx what there is."""
    app.connect("source-read", read)
    app.connect("autodoc-skip-member", is_value)
    app.connect("autodoc-process-bases", own)
    app.connect("autodoc-process-signature", brief)
    app.connect("autodoc-process-docstring", before, priority=400)  # than napoleon, at 500
    app.connect("autodoc-process-docstring", behind, priority=600)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
