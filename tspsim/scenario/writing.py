"""A resolved scenario as the text of a file."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from ruamel.yaml import YAML


def to_text(document: Mapping[str, Any]) -> str:
    """Return a resolved scenario as YAML, without the sources of its numbers."""
    yaml = YAML()  # the round-trip writer keeps the order of keys
    yaml.default_flow_style = None
    yaml.width = 100
    text = io.StringIO()
    yaml.dump(_without_sources(document), text)
    return text.getvalue()


def _without_sources(value: Any) -> Any:
    """Return a document without the texts that say where its numbers come from."""
    if isinstance(value, Mapping):
        return {key: _without_sources(v) for key, v in value.items() if key != "source"}
    return value
