"""All constants of a machine, their intervals, and the error on rows that were held out."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tspsim.calibrate.fit import network as net
from tspsim.calibrate.fit.curves import Compute, curve_of, fit_compute, rounded
from tspsim.calibrate.fit.network import Network, fit_network
from tspsim.calibrate.rows import CalibrationError, Machine, Row, Rows
from tspsim.program.types import Work
from tspsim.topology.hardware import Curve, Device, Profile, Roofline

#: Bootstrap samples, and the seed that makes them the same in every run.
SAMPLES, SEED = 100, 20260
#: Rows of a kind that a fit needs at least.
FEWEST = {"matmul": 3, "attention": 3, "attention_backward": 3, "elementwise": 3}


@dataclass(frozen=True, slots=True)
class Quality:
    """How well a kind of row is met: numbers of rows, and mean absolute relative errors."""

    rows: int
    residual: float
    held_out: int
    error: float | None


@dataclass(frozen=True, slots=True)
class Residual:
    """One row with what the fitted constants say of it."""

    row: Row
    name: str
    predicted: float

    @property
    def error(self) -> float:
        """Predicted / measured - 1."""
        return self.predicted / self.row.median - 1


@dataclass(frozen=True, slots=True)
class Constants:
    """What a calibration found out.

    Parameters
    ----------
    machine : Machine
    compute : Compute
    network : Network
    interference : float
        Fraction of its speed that compute keeps beside a collective.
    intervals : dict of str to (float, float)
        90 % bootstrap intervals of the scalar constants.
    quality : dict of str to Quality
        By curve or collective.
    residuals : tuple of Residual
    """

    machine: Machine
    compute: Compute
    network: Network
    interference: float
    intervals: dict[str, tuple[float, float]]
    quality: dict[str, Quality]
    residuals: tuple[Residual, ...]


def fit(rows: Rows) -> Constants:
    """Return the constants of the machine that rows were measured on.

    Raises
    ------
    CalibrationError
        When there are too few rows; it says which are missing.
    """
    _enough(rows)
    compute = fit_compute(rows.of("op", "fit"))
    network = fit_network(rows.of("collective", "fit"))
    interference = _interference(rows)
    residuals = tuple(_residuals(rows, compute, network))
    return Constants(
        rows.machine, compute, network, interference, _intervals(rows), _quality(residuals),
        residuals,
    )  # fmt: skip


def _enough(rows: Rows) -> None:
    """Raise when something cannot be fitted."""
    have = [curve_of(row.case["op"]) for row in rows.of("op", "fit")]
    lacking = [
        f"{least - have.count(kind)} more {kind} ops"
        for kind, least in FEWEST.items()
        if have.count(kind) < least
    ]
    sizes = {row.case["bytes"] for row in rows.of("collective", "fit")}
    if len(sizes) < 2:
        lacking.append(f"{2 - len(sizes)} more sizes of collectives")
    if lacking:
        raise CalibrationError(
            f"too few rows for a fit; missing: {', '.join(lacking)}. "
            "'tspsim calibrate measure' goes on where it stopped."
        )


def _interference(rows: Rows) -> float:
    """Return the median speed beside a collective; where ranks share cores it says nothing."""
    overlaps = rows.of("overlap")
    alone = [row for row in overlaps if row.case["ranks"] <= rows.machine.cores]
    kept = [row.notes["alone"] / row.median for row in alone]
    return min(1.0, rounded(statistics.median(kept))) if kept else 1.0


# ---- intervals -----------------------------------------------------------------------------------


def _intervals(rows: Rows) -> dict[str, tuple[float, float]]:
    """Return what becomes of the constants when repeats are drawn again, with replacement."""
    generator = np.random.default_rng(SEED)
    found: dict[str, list[float]] = {}
    for _ in range(SAMPLES):
        for name, value in _scalars(replace(rows, rows=tuple(_drawn(rows.rows, generator)))):
            found.setdefault(name, []).append(value)
    quantiles = {name: np.quantile(values, [0.05, 0.95]) for name, values in found.items()}
    return {name: (rounded(low), rounded(high)) for name, (low, high) in quantiles.items()}


def _drawn(rows: Sequence[Row], generator: np.random.Generator) -> Iterator[Row]:
    for row in rows:
        if row.use == "fit":
            picks = generator.integers(0, len(row.seconds), len(row.seconds))
            yield replace(row, seconds=tuple(row.seconds[i] for i in picks))


def _scalars(rows: Rows) -> Iterator[tuple[str, float]]:
    compute = fit_compute(rows.of("op", "fit"))
    network = fit_network(rows.of("collective", "fit"))
    yield from (("flop_rate", compute.flop_rate), ("memory_bandwidth", compute.memory_bandwidth))
    yield from (("launch", compute.launch), ("bandwidth", network.bandwidth))
    yield from (("latency", network.latency), ("interference", _interference(rows)))


# ---- residuals -----------------------------------------------------------------------------------


def profile_of(compute: Compute) -> Profile:
    """Return the curves as a profile."""
    curves = tuple((name, Curve(points)) for name, points in compute.curves.items())
    return Profile("fitted", curves, compute.launch)


def _residuals(rows: Rows, compute: Compute, network: Network) -> Iterator[Residual]:
    rates = (("fp32", compute.flop_rate),)
    device = Device("rank", rates, compute.memory_bandwidth, float(rows.machine.memory))
    roofline = Roofline(device, profile_of(compute), "fp32")
    for row in rows.of("op"):
        name = curve_of(row.case["op"])
        work = Work(row.case["flops"], row.case["bytes"], name)
        yield Residual(row, name, roofline.seconds(work))
    for row in rows.of("collective"):
        kind = row.case["collective"]
        if kind in network.algorithms:
            yield Residual(row, kind, collective_seconds(network, row))


def collective_seconds(network: Network, row: Row) -> float:
    """Return what a call takes by the fitted constants."""
    case, kind = row.case, row.case["collective"]
    found = net.terms(network.algorithms[kind], kind, case["ranks"], case.get("root", 0))
    assert found is not None
    return found[0] * network.latency + found[1] * case["bytes"] / network.bandwidth


def _quality(residuals: Sequence[Residual]) -> dict[str, Quality]:
    names = dict.fromkeys(residual.name for residual in residuals)
    return {name: _quality_of([r for r in residuals if r.name == name]) for name in names}


def _quality_of(residuals: Sequence[Residual]) -> Quality:
    def mean(keep: Callable[[Residual], bool]) -> tuple[int, float | None]:
        errors = [abs(r.error) for r in residuals if keep(r)]
        return len(errors), rounded(statistics.mean(errors)) if errors else None

    rows, residual = mean(lambda r: r.row.use == "fit")
    held, error = mean(lambda r: r.row.use == "held_out")
    return Quality(rows, residual or 0.0, held, error)
