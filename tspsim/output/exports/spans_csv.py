"""Every task of every rank as a row: stream, kind, layer, times, flops, bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tspsim.output import gzipped, spans

if TYPE_CHECKING:
    from tspsim.result import Result

NAME = "csv"
SUFFIXES = (".csv", ".csv.gz")


def export(result: Result, target: Path) -> list[Path]:
    """Write the spans of a result."""
    return gzipped.write_named(target, spans.blocks(result.timeline))
