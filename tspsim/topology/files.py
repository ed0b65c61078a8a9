"""Reads the YAML files of topologies, devices and profiles into plain mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tspsim.files import source
from tspsim.files.errors import ScenarioError, TopologyError


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    TopologyError
        When it cannot be read, is too large, is no YAML, has a key twice (each with line and
        column) or does not hold a mapping.
    """
    try:
        document = source.read(path).data
    except ScenarioError as error:
        raise TopologyError(str(error)) from None
    if not isinstance(document, dict):
        found = "empty" if document is None else f"a {type(document).__name__}"
        raise TopologyError(f"{path}: a mapping of keys is needed, this is {found}")
    return document
