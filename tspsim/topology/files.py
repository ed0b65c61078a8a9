"""Reads the YAML files of topologies, devices and profiles into plain mappings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tspsim.errors import TopologyError

#: No file that a person writes is larger; a larger one is something else by mistake.
_LARGEST = 4 * 2**20


def read(path: Path) -> dict[str, Any]:
    """Return the mapping that a YAML file holds.

    Raises
    ------
    TopologyError
        When it cannot be read, is no YAML (the message has line and column), is too large or does
        not hold a mapping.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        if path.stat().st_size > _LARGEST:
            raise TopologyError(f"{path}: larger than {_LARGEST // 2**20} MiB, no topology file")
        document = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise TopologyError(f"{path}: cannot be read: {error}") from None
    except MarkedYAMLError as error:
        mark = error.problem_mark
        place = f":{mark.line + 1}:{mark.column + 1}" if mark else ""
        raise TopologyError(f"{path}{place}: {error.problem or error.context}") from None
    except YAMLError as error:
        raise TopologyError(f"{path}: {error}") from None
    if not isinstance(document, dict):
        found = "empty" if document is None else f"a {type(document).__name__}"
        raise TopologyError(f"{path}: a mapping of keys is needed, this is {found}")
    return document
