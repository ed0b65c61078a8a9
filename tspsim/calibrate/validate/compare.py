"""Simulates every measured block and compares."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tspsim.calibrate.rows import CalibrationError, Row, Rows
from tspsim.calibrate.validate.scenario import scenario, scheme, title
from tspsim.files.errors import UserError
from tspsim.files.reading import is_there
from tspsim.files.source import read as read_yaml
from tspsim.result import Result
from tspsim.runner import run


@dataclass(frozen=True, slots=True)
class Comparison:
    """One block, measured and predicted."""

    row: Row
    result: Result

    @property
    def measured(self) -> float:
        """Seconds of the median repeat."""
        return self.row.median

    @property
    def predicted(self) -> float:
        """Seconds of the simulated step."""
        return self.result.timeline.step_time

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.measured - 1

    @property
    def spread(self) -> float:
        """Half of the middle half of the repeats, relative to the median: the noise floor."""
        if len(self.row.seconds) < 2:
            return 0.0
        low, _, high = statistics.quantiles(self.row.seconds, n=4, method="inclusive")
        return (high - low) / 2 / self.measured


@dataclass(frozen=True, slots=True)
class Group:
    """Blocks that differ in their strategy alone, fastest first by either account."""

    name: str
    measured: tuple[str, ...]
    predicted: tuple[str, ...]
    agreeing: int
    pairs: int


@dataclass(frozen=True, slots=True)
class Report:
    """All comparisons of a validation.

    Parameters
    ----------
    profile : str
    comparisons : tuple of Comparison
    """

    profile: str
    comparisons: tuple[Comparison, ...]

    @property
    def error(self) -> float:
        """Mean absolute relative error over all blocks."""
        return statistics.mean(abs(c.error) for c in self.comparisons)

    def errors_by_scheme(self) -> dict[str, float]:
        """Return the mean absolute relative error of every strategy."""
        names = dict.fromkeys(scheme(c.row) for c in self.comparisons)
        return {
            name: statistics.mean(abs(c.error) for c in self.comparisons if scheme(c.row) == name)
            for name in names
        }

    def groups(self) -> list[Group]:
        """Return how the strategies rank where model, tokens and ranks are the same."""

        def place(c: Comparison) -> tuple[int, int, int]:
            return c.row.case["ranks"], c.row.case["model"]["hidden"], c.row.case["sequence"]

        ordered = sorted(self.comparisons, key=place)
        groups = [(key, list(some)) for key, some in itertools.groupby(ordered, key=place)]
        return [_group(*item) for item in groups if len(item[1]) > 1]


def _group(place: tuple[int, int, int], some: Sequence[Comparison]) -> Group:
    def ranked(key: Any) -> tuple[str, ...]:
        return tuple(scheme(c.row) for c in sorted(some, key=key))

    pairs = list(itertools.combinations(some, 2))
    agreeing = sum((a.measured < b.measured) == (a.predicted < b.predicted) for a, b in pairs)
    name = f"{place[0]} ranks, h {place[1]}, {place[2]} tokens"
    return Group(
        name, ranked(lambda c: c.measured), ranked(lambda c: c.predicted), agreeing, len(pairs)
    )


def validate(rows: Rows, profile: Path) -> Report:
    """Return what the simulator says of the held-out blocks, with what was measured.

    Parameters
    ----------
    rows : Rows
    profile : Path
        Of a fit, with the topologies that it wrote beside it.

    Raises
    ------
    UserError
        When the profile or a topology is not there.
    CalibrationError
        When there is no block to compare with, or the profile is of another machine.
    """
    held = rows.of("block", "held_out")
    if not held:
        raise CalibrationError(
            "no measured blocks among these rows; 'tspsim calibrate measure' measures them last"
        )
    document = _document(profile, "profile")
    _same_machine(rows, document, profile)
    topologies = {
        ranks: _document(profile.with_name(f"{profile.stem}-{ranks}-ranks.yaml"), "topology")
        for ranks in sorted({row.case["ranks"] for row in held})
    }
    return Report(
        str(document["name"]),
        tuple(
            Comparison(row, run(scenario(row, _named(topologies[row.case["ranks"]], document))))
            for row in held
        ),
    )


def _document(path: Path, what: str) -> dict[str, Any]:
    if not is_there(path):
        raise UserError(
            f"{path}: no such {what}; 'tspsim calibrate fit DIR -o {path.name}' writes it"
        )
    found: dict[str, Any] = read_yaml(path).data
    devices = found.get("devices") if isinstance(found, dict) else None
    whole = isinstance(devices, list) and all(isinstance(each, dict) for each in devices)
    if not isinstance(found, dict) or "name" not in found or (what == "topology" and not whole):
        raise UserError(f"{path}: is no {what} that 'tspsim calibrate fit' writes")
    return found


def _named(topology: dict[str, Any], profile: dict[str, Any]) -> dict[str, Any]:
    """Return a topology whose devices hold the profile itself instead of its file's name."""
    devices = [device | {"profile": profile} for device in topology["devices"]]
    return topology | {"devices": devices}


def _same_machine(rows: Rows, profile: dict[str, Any], path: Path) -> None:
    """Raise unless a profile says that it was measured on the machine of some rows."""
    source = str(profile.get("source", ""))
    if rows.machine.device not in source:
        raise CalibrationError(
            f"{path}: is not of the machine of these rows.\n  rows: {rows.machine.device}\n"
            f"  profile: {source or 'states no source'}"
        )


def describe(comparison: Comparison) -> str:
    """Return the name of a compared block."""
    return title(comparison.row)
