"""docs/topologies.md says what the shipped files say."""

from __future__ import annotations

import re
from pathlib import Path

import topology_tables
from tspsim.files.shipped import names

DOCS = Path(__file__).parent.parent / "docs"


def test_every_shipped_file_has_its_line() -> None:
    """Devices and topologies alike."""
    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    rows = set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE))
    assert rows == {*names("topologies"), *names("topologies/devices")}


def test_every_picture_is_drawn_and_shown() -> None:
    """The folder holds what the script draws and nothing else, and all of it is on the page."""
    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    there = {path.stem for path in (DOCS / "topologies").iterdir()}
    assert there == set(topology_tables.DRAWN)
    assert there == set(re.findall(r"\(topologies/([\w-]+)\.png\)", text))


def test_every_fabric_is_explained() -> None:
    """The page has a paragraph for each."""
    from tspsim.topology.networks import NETWORKS

    text = (DOCS / "topologies.md").read_text(encoding="utf-8")
    assert all(f"**{name}**" in text for name in NETWORKS)
