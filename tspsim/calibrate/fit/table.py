"""The table that a fit prints."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tspsim.calibrate.fit.constants import Constants, Quality

#: Unit and divisor of every scalar constant.
UNITS = {
    "flop_rate": ("GFLOP/s", 1e9), "memory_bandwidth": ("GB/s", 1e9), "launch": ("us", 1e-6),
    "bandwidth": ("MB/s", 1e6), "latency": ("us", 1e-6), "interference": ("", 1.0),
}  # fmt: skip


def render(found: Constants) -> RenderableType:
    """Return constants with their intervals, and how well every kind is met."""
    values = {
        "flop_rate": found.compute.flop_rate, "memory_bandwidth": found.compute.memory_bandwidth,
        "launch": found.compute.launch, "bandwidth": found.network.bandwidth,
        "latency": found.network.latency, "interference": found.interference,
    }  # fmt: skip
    constants = Table("constant", "value", "90 % interval", box=None)
    for name, value in values.items():
        unit, divisor = UNITS[name]
        low, high = (f"{x / divisor:.4g}" for x in found.intervals[name])
        constants.add_row(name, f"{value / divisor:.4g} {unit}", f"{low} to {high}")
    return Group(constants, Text(), _kinds(found))


def _kinds(found: Constants) -> Table:
    kinds = Table("kind", "algorithm", "rows", "residual", "held out", "error", box=None)
    for name, quality in found.quality.items():
        kinds.add_row(name, found.network.algorithms.get(name, ""), *_cells(quality))
    return kinds


def _cells(quality: Quality) -> tuple[str, str, str, str]:
    error = "unknown" if quality.error is None else f"{quality.error:.1%}"
    return str(quality.rows), f"{quality.residual:.1%}", str(quality.held_out), error
