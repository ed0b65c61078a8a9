"""docs/topologies.md says what the shipped files say."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from tspsim.files.shipped import names

DOCS = Path(__file__).parent.parent / "docs"


@pytest.fixture(scope="module")
def tables() -> ModuleType:
    """Return docs/topology_tables.py."""
    spec = importlib.util.spec_from_file_location("tables", DOCS / "topology_tables.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_tables_are_those_of_the_files(tables: ModuleType) -> None:
    """``python docs/topology_tables.py`` would change nothing."""
    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    assert tables.renewed(text) == text


def test_every_shipped_file_has_its_line() -> None:
    """Devices and topologies alike."""
    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert rows == {*names("topologies"), *names("topologies/devices")}


def test_every_picture_is_drawn_and_shown(tables: ModuleType) -> None:
    """The folder holds what the script draws and nothing else, and all of it is on the page."""
    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    there = {path.stem for path in (DOCS / "topologies").iterdir()}
    assert there == set(tables.DRAWN)
    assert there == set(re.findall(r"\(topologies/([\w-]+)\.png\)", text))


def test_every_fabric_is_explained() -> None:
    """The page has a paragraph for each."""
    from tspsim.topology.networks import NETWORKS

    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    assert all(f"**{name}**" in text for name in NETWORKS)
