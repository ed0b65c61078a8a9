"""Execution traces of MLCommons Chakra, for ASTRA-sim: a file for every rank."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tspsim.result import Result

FILES = "chakra.*"
#: What is imported, and the extra that installs it.
NEEDS = ("google.protobuf", "chakra")


def export(result: Result, target: Path) -> list[Path]:
    """Write the traces of a result."""
    from tspsim.output.chakra import file  # what lists the forms needs no protobuf

    return file.write(result, target)
