"""Whole steps of mixtures of experts that others published: ``published/mixtures/``.

They stand apart from other steps, and nothing is fitted to them: what they leave open (sequences of
a micro-batch, virtual stages, recomputation) makes more of a difference than what intervals of
other steps say. Those of steps with experts rest on them.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from tspsim.calibrate.published.steps import Predicted, played
from tspsim.files.errors import UserError
from tspsim.files.units import quantity
from tspsim.flops import model_flops
from tspsim.kernels import PRESETS, Framework
from tspsim.scenario import from_document
from tspsim.topology.files import read

#: An MFU is met when it is foreseen so closely.
NEAR = 0.15

_COLUMNS = ("source", "model", "method", "measured", "predicted", "otherwise", "memory", "fits")


@dataclass(frozen=True, slots=True)
class Row:
    """One published step.

    Parameters
    ----------
    source, model, method : str
    scenario : dict
        What was run.
    peak : float
        Flop/s of a device that its MFU counts against.
    mfu : float or None
        None: it did not fit.
    otherwise : dict or None
        Options of the strategy that were not printed, and may have been these.
    """

    source: str
    model: str
    method: str
    scenario: dict[str, Any]
    peak: float
    mfu: float | None
    otherwise: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Foreseen:
    """A published step and what is predicted of it.

    Parameters
    ----------
    source, model, method : str
    measured : float or None
        MFU; None: it did not fit.
    predicted : float
        MFU.
    otherwise : float or None
        With the other options, where there are any.
    memory : float
        Peak bytes of the fullest device, as a framework's own counters have them.
    fits : bool
    """

    source: str
    model: str
    method: str
    measured: float | None
    predicted: float
    otherwise: float | None
    memory: float
    fits: bool

    @property
    def error(self) -> float | None:
        """Predicted / measured - 1."""
        return None if self.measured is None else self.predicted / self.measured - 1

    @property
    def near(self) -> bool:
        """Whether the MFU is met; of one that did not fit: whether that is foreseen."""
        return not self.fits if self.error is None else abs(self.error) <= NEAR


def load(folder: Path) -> tuple[Row, ...]:
    """Return the rows of every file in ``mixtures/``, in the order of their names."""
    files = sorted((folder / "mixtures").glob("*.yaml"))
    return tuple(row for path in files for row in _rows(path.stem, read(path)))


def _rows(source: str, entry: Mapping[str, Any]) -> Iterator[Row]:
    peak = quantity(entry["peak"], "FLOP/s")
    for row in entry["steps"]:
        workload = {**entry["workload"], "micro_batches": row["micro_batches"], "phase": "train"}
        scenario = {
            "name": "published",
            "model": entry["models"][row["model"]],
            "workload": workload,
            "topology": {**entry["topology"], "nodes": row["nodes"]},
            "strategy": row["strategy"],
            "kernels": entry["kernels"],
        }
        mfu = row["mfu"] / 100 if "mfu" in row else None
        yield Row(source, row["model"], row["method"], scenario, peak, mfu, row.get("otherwise"))


def foresee(row: Row) -> Foreseen:
    """Return a row beside what the simulator gives for it."""
    found, otherwise = played(row.scenario), None
    if row.otherwise:
        strategy = {**row.scenario["strategy"], **row.otherwise}
        otherwise = _mfu(row, played({**row.scenario, "strategy": strategy}))
    names, figures = (row.source, row.model, row.method), (found.memory, found.fits)
    return Foreseen(*names, row.mfu, _mfu(row, found), otherwise, *figures)


def _mfu(row: Row, found: Predicted) -> float:
    scenario = from_document(row.scenario)
    mesh = scenario.strategy.mesh()
    flops = mesh.replicas * model_flops(scenario.model, scenario.workload)
    return flops / (found.seconds * row.peak * mesh.ranks)


def residuals(
    rows: Sequence[Row], foreseen: Sequence[Foreseen]
) -> dict[tuple[Framework, bool, str], list[float]]:
    """Return how far times are off, as ``log(measured / predicted)``: see `judge.Residual`.

    Parameters
    ----------
    rows, foreseen : sequence
        The same steps, in the same order.

    Raises
    ------
    UserError
        When they are not.
    """
    both = [[(each.source, each.model, each.method) for each in some] for some in (rows, foreseen)]
    if both[0] != both[1]:
        told = f"{len(foreseen)} rows foreseen are not the {len(rows)} published"
        raise UserError(f"mixtures: {told}; run python docs/refresh.py mixtures")
    groups: dict[tuple[Framework, bool, str], list[float]] = {}
    for row, found in zip(rows, foreseen, strict=True):
        if found.error is not None:
            framework = PRESETS[row.scenario["kernels"]].framework
            key = framework, row.scenario["topology"]["nodes"] > 1, row.source
            groups.setdefault(key, []).append(math.log1p(found.error))
    return groups


def pairs(rows: Sequence[Foreseen]) -> tuple[int, int]:
    """Return how many pairs of methods of one model were measured, and those foreseen in order."""
    models = dict.fromkeys((row.source, row.model) for row in rows)
    timed = [[r for r in rows if (r.source, r.model) == m and r.measured] for m in models]
    found = [pair for some in timed for pair in combinations(some, 2)]
    return len(found), sum(_ordered(*pair) for pair in found)


def _ordered(a: Foreseen, b: Foreseen) -> bool:
    assert a.measured is not None and b.measured is not None
    return (a.measured < b.measured) == (a.predicted < b.predicted)


def write(rows: Sequence[Foreseen], path: Path) -> None:
    """Write rows to a table."""
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(_COLUMNS)
        for r in rows:
            rates = [_text(rate) for rate in (r.measured, r.predicted, r.otherwise)]
            fits = str(r.fits).lower()
            out.writerow((r.source, r.model, r.method, *rates, f"{r.memory:.4g}", fits))


def _text(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.4f}"


def written(path: Path) -> tuple[Foreseen, ...]:
    """Return the rows of a table that `write` wrote."""
    with path.open(encoding="utf-8", newline="") as file:
        return tuple(_of_table(row) for row in csv.DictReader(file))


def _of_table(row: Mapping[str, str]) -> Foreseen:
    measured, otherwise = (float(row[k]) if row[k] else None for k in ("measured", "otherwise"))
    figures = float(row["memory"]), row["fits"] == "true"
    names = row["source"], row["model"], row["method"]
    return Foreseen(*names, measured, float(row["predicted"]), otherwise, *figures)
