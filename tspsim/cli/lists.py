"""``tspsim list``: what there is to choose from, each with one line about it."""

from __future__ import annotations

import inspect
import itertools
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tspsim.files.errors import UnknownNameError, UserError
from tspsim.files.shipped import Kind, shipped
from tspsim.registry import (
    COLLECTIVES,
    EXPORTS,
    MAPS,
    PLOTS,
    SCHEDULES,
    STRATEGIES,
    TOPOLOGIES,
    Registry,
)

Entry = dict[str, str]


def entries(what: str) -> list[Entry]:
    """Return the entries of a list, sorted by name: ``name`` and ``about``.

    Raises
    ------
    UserError
        When there is no such list, or none is named.
    """
    lists: dict[str, Callable[[], list[Entry]]] = {
        "strategies": lambda: _registered(STRATEGIES),
        "schedules": lambda: _registered(SCHEDULES),
        "collectives": lambda: _registered(COLLECTIVES),
        "topologies": lambda: _files("topologies") + _registered(TOPOLOGIES, "kind: "),
        "devices": lambda: _files("topologies/devices"),
        "models": _models,
        "scenarios": lambda: _files("scenarios"),
        "plots": lambda: _registered(PLOTS) + _registered(MAPS),
        "exports": lambda: _registered(EXPORTS),
    }
    if not what:
        raise UserError(f"no list is named; there are: {', '.join(lists)}")
    if what not in lists:
        raise UnknownNameError("list", what, lists)
    return lists[what]()


def render(found: list[Entry]) -> Table:
    """Return the entries as a table."""
    table = Table.grid(padding=(0, 3))
    table.add_column(no_wrap=True, style="bold")
    for entry in found:
        table.add_row(entry["name"], entry["about"])
    return table


def _registered(registry: Registry, prefix: str = "") -> list[Entry]:
    return [
        {"name": f"{prefix}{name}", "about": _first_line(registry.get(name))}
        for name in registry.names()
    ]


def _first_line(thing: Any) -> str:
    """Return the first sentence of the module that holds a registered thing."""
    module = sys.modules.get(getattr(thing, "__module__", ""))
    text = inspect.getdoc(module) or inspect.getdoc(thing) or ""
    return text.partition("\n\n")[0].replace("\n", " ")


def _files(kind: Kind) -> list[Entry]:
    return [
        {"name": path.stem, "about": _comment(path)}
        for path in sorted(shipped(kind).glob("*.yaml"))
    ]


def questions() -> dict[str, list[str]]:
    """Return the questions that shipped scenarios ask, each with the scenarios that answer it."""
    found: dict[str, list[str]] = {}
    for path in sorted(shipped("scenarios").glob("*.yaml")):
        asked, mark, _ = _comment_of(path).removeprefix("Question: ").partition("?")
        assert mark, f"{path.name} asks nothing"
        found.setdefault(f"{asked[0].upper()}{asked[1:]}?", []).append(path.stem)
    return found


def render_questions(found: dict[str, list[str]]) -> Group:
    """Return the questions, below each what answers it."""
    lines: list[RenderableType] = []
    for asked, names in found.items():
        lines += [Text(asked, "bold"), Padding(Text(", ".join(names)), (0, 0, 0, 4))]
    return Group(*lines)


def _comment(path: Path) -> str:
    """Return the first sentence of the comment that a YAML file begins with."""
    return re.split(r"(?<=[.?!])\s", _comment_of(path))[0]


def _comment_of(path: Path) -> str:
    """Return the comment that a YAML file begins with."""
    lines = path.read_text(encoding="utf-8").splitlines()
    comment = itertools.takewhile(lambda line: line.startswith("#"), lines)
    return " ".join(line.lstrip("#").strip() for line in comment).strip()


def _models() -> list[Entry]:
    from tspsim.files.source import read
    from tspsim.scenario.models import read_config
    from tspsim.scenario.schema import ModelKeys

    found = []
    for path in sorted(shipped("models").glob("*/config.json")):
        shape = ModelKeys.model_validate(read_config(read(path))[0]).value()
        sizes = f"{shape.layers} layers, hidden {shape.hidden}"
        active = f"{shape.active_parameters:,} active, " if shape.experts else ""
        about = f"{shape.parameters:,} parameters, {active}{sizes}"
        found.append({"name": path.parent.name, "about": about})
    return found
