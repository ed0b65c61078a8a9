"""Peaks of the configs, torch's and the simulator's beside each other."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tspsim.calibrate.oracle.fsdp import simulated
from tspsim.calibrate.oracle.fsdp.config import COMPARED
from tspsim.calibrate.oracle.fsdp.differences import memory_differences

COLUMNS = ("config", "peak torch", "peak tspsim", "error", "explained")


class Peaks(NamedTuple):
    """One config's.

    Attributes
    ----------
    name : str
    torch, simulated : int
        Bytes.
    named : int
        Bytes of the differences that have a name.
    """

    name: str
    torch: int
    simulated: int
    named: int

    @property
    def error(self) -> float:
        """The simulator's peak, relative to torch's."""
        return self.simulated / self.torch - 1

    @property
    def unexplained(self) -> float:
        """The same after the differences that have a name."""
        return (self.simulated + self.named) / self.torch - 1


def peaks(records: Path) -> list[Peaks]:
    """Return the peaks of all configs that are compared, torch's from the table of its records."""
    with records.open(encoding="utf-8") as file:
        torchs = {row["config"]: int(row["Total"]) for row in csv.DictReader(file)}
    return [
        Peaks(
            config.name,
            torchs[config.name],
            simulated.peak(config),
            sum(difference.bytes for difference in memory_differences(config)),
        )
        for config in COMPARED
    ]


def table(found: Sequence[Peaks]) -> str:
    """Return a Markdown table: one line per config."""
    lines = [COLUMNS, tuple("---" for _ in COLUMNS), *map(_row, found)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _row(peak: Peaks) -> tuple[str, ...]:
    explained = f"{peak.unexplained:+.2%}" if peak.named else "-"
    sizes = f"{peak.torch:,}", f"{peak.simulated:,}"
    return peak.name, *sizes, f"{peak.error:+.2%}", explained
