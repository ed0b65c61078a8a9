"""Versions of libraries in the order of their ages."""

from __future__ import annotations

import re
from typing import Any


def age(text: str) -> tuple[int, ...]:
    """Return a version as numbers: ``1.3.0rc20`` comes after ``1.3.0rc10``."""
    return tuple(int(part) for part in re.findall(r"\d+", str(text)))


def with_age(frame: Any) -> Any:
    """Return rows with the age of their version in a column ``_age``."""
    return frame.assign(_age=frame["version"].map({v: age(v) for v in set(frame["version"])}))
