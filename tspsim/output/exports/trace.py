"""Every stream, link, counter of memory and message, for Perfetto."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tspsim.output import gzipped, trace

if TYPE_CHECKING:
    from tspsim.result import Result

SUFFIXES = (".json.gz", ".json")


def export(result: Result, target: Path) -> list[Path]:
    """Write the trace of a result."""
    return gzipped.write_named(target, trace.blocks(result))
