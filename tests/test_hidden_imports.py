"""What the import linter cannot see: modules imported by name, and state that modules keep."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tspsim import registry
from tspsim.registry import Registry

TOP = Path(__file__).parent.parent
TREES = {
    path: ast.parse(path.read_text(encoding="utf-8"))
    for path in sorted((TOP / "tspsim").rglob("*.py"))
}
LINTER = tomllib.loads((TOP / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]
LAYERS = next(contract for contract in LINTER["contracts"] if contract["type"] == "layers")

#: Modules that import by a name which is not written where they import. The package itself only
#: names what it offers; a registry's entries are held against the layers below.
BY_NAME = {"tspsim/__init__.py", "tspsim/registry.py"}

REGISTRIES = {name: r for name, r in vars(registry).items() if isinstance(r, Registry)}


def height(module: str) -> tuple[int, str]:
    """Return the layer of a module of tspsim, 0 for the lowest, and its name."""
    part = module.split(".")[1]
    for number, layer in enumerate(reversed(LAYERS["layers"])):
        if part in layer.split(" : "):
            return number, part
    raise AssertionError(f"{module} has no layer")


def points_down(importer: str, imported: str) -> bool:
    """Say whether an import stays in its part of the package or leads to a lower layer."""
    (high, part), (low, other) = height(importer), height(imported)
    return part == other or low < high


def module_of(path: Path) -> str:
    """Return the dotted name of a source file."""
    parts = path.relative_to(TOP).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_by_name(tree: ast.Module) -> Iterator[str | None]:
    """Yield what calls of ``import_module`` and ``__import__`` name; None where it is computed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
            if name in ("import_module", "__import__"):
                first = node.args[0] if node.args else None
                yield first.value if isinstance(first, ast.Constant) else None


def test_what_a_module_imports_by_name_lies_below_it() -> None:
    """No name handed to ``import_module`` leads around the layers, and none is computed."""
    for path, tree in TREES.items():
        if str(path.relative_to(TOP)) not in BY_NAME:
            for name in imported_by_name(tree):
                place = f"{module_of(path)} imports {name or 'a computed name'}"
                assert name is not None, place
                own = name.split(".")[0] == "tspsim"
                assert not own or points_down(module_of(path), name), place


def test_an_import_by_name_is_seen() -> None:
    """Both ways of writing it, computed names, and ordinary calls."""
    text = 'import_module("a.b"); importlib.import_module(f"{x}"); __import__("c"); int("d")'
    assert list(imported_by_name(ast.parse(text))) == ["a.b", None, "c"]
    assert not points_down("tspsim.result", "tspsim.output.folder")
    assert not points_down("tspsim.strategies.tp", "tspsim.collectives.ring")
    assert points_down("tspsim.runner", "tspsim.output.folder")


@pytest.mark.parametrize("name", REGISTRIES)
def test_who_asks_a_registry_stands_above_its_entries(name: str) -> None:
    """To look up an entry is to import it, so the layers hold for it as for an import."""
    package = REGISTRIES[name]._package
    askers = [
        module_of(path)
        for path, tree in TREES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module == "tspsim.registry"
        and name in {alias.name for alias in node.names}
    ]
    assert askers
    assert [asker for asker in askers if not points_down(asker, package)] == []


def test_imports_for_the_type_checker_are_held_against_the_layers_too() -> None:
    """The linter reads what stands under ``TYPE_CHECKING``, unless it is told not to."""
    assert not LINTER.get("exclude_type_checking_imports", False)
    assert LAYERS["ignore_imports"] == ["tspsim -> tspsim.*"]


#: What changes a list, a dict or a set in place.
CHANGES = {
    "add", "append", "clear", "discard", "extend", "insert", "pop", "popitem", "remove",
    "setdefault", "update",
}  # fmt: skip
CONTAINERS = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)


def kept(tree: ast.Module) -> set[str]:
    """Return the names of a module that hold a list, a dict or a set."""
    found = set()
    for node in tree.body:
        value = getattr(node, "value", None)
        made = isinstance(value, ast.Call) and getattr(value.func, "id", "") in (
            "list", "dict", "set", "defaultdict", "deque", "Counter",
        )  # fmt: skip
        if isinstance(node, ast.Assign | ast.AnnAssign) and (isinstance(value, CONTAINERS) or made):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {target.id for target in targets if isinstance(target, ast.Name)}
    return found


def changed(tree: ast.Module) -> set[str]:
    """Return the names that functions of a module change in place, or bind again."""
    found: set[str] = set()
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            own = {argument.arg for argument in function.args.args}
            found |= {name for node in ast.walk(function) for name in _changed_by(node)} - own
    return found


def _changed_by(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Global):
        yield from node.names
    into = isinstance(node, ast.Subscript) and not isinstance(node.ctx, ast.Load)
    if into or (isinstance(node, ast.Attribute) and node.attr in CHANGES):
        yield getattr(node.value, "id", "")


def test_no_module_keeps_state() -> None:
    """What changes has an owner: no function changes a list, dict or set of its module."""
    found = {module_of(path): kept(tree) & changed(tree) for path, tree in TREES.items()}
    assert {module: names for module, names in found.items() if names} == {}


def test_state_of_a_module_is_seen() -> None:
    """A dict that is filled, a list that is appended to, a name that is bound again."""
    text = """
a = {}
b: list[int] = []
c = set()
d = {1: 2}
e = []
def f(c):
    global e
    a[1] = 2
    b.append(3)
    c.add(4)
    e = [d[1]]
"""
    tree = ast.parse(text)
    assert kept(tree) == {"a", "b", "c", "d", "e"}
    assert kept(tree) & changed(tree) == {"a", "b", "e"}
