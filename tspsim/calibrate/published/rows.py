"""The published rows as values: efficiencies by size of the work, and times of collective calls."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pydantic import TypeAdapter

from tspsim.files.errors import UserError
from tspsim.files.shipped import names
from tspsim.kernels import Attention
from tspsim.program.types import CollectiveKind
from tspsim.topology.files import read
from tspsim.topology.forms import DeviceField, DeviceForm
from tspsim.topology.hardware import Device

Row = dict[str, str]


#: The curves that a pass speaks for, and the flops that each of them is asked for, likewise.
_CURVES: dict[str, tuple[tuple[str, float], ...]] = {
    "forward": (("attention", 1.0),),
    "backward": (("attention_backward", 2.5),),
    "forward_backward": (("attention", 1.0), ("attention_backward", 2.5)),
}


#: Kernels of attention beside a faster one of the same device, as `tspsim.kernels` names them.
SLOWER: dict[tuple[str, str], Attention] = {("h100-sxm", "FlashAttention-2"): "flash-2"}


@dataclass(frozen=True, slots=True)
class Point:
    """What a kernel achieved.

    Parameters
    ----------
    curve, device, source : str
    label : str
        What to call it in a picture.
    size : float or None
        Flops, or bytes of element-wise work; None: the shape is not stated.
    efficiency : float
        Achieved / stated rate of the device.
    place : tuple of float
        On the axes of the kernel's table; empty where the shape is not stated.
    together : bool
        The efficiency is that of forward and backward together.
    """

    curve: str
    device: str
    source: str
    label: str
    size: float | None
    efficiency: float
    place: tuple[float, ...] = ()
    together: bool = False


@dataclass(frozen=True, slots=True)
class Call:
    """What a collective call over the devices of a node, or of several, took.

    Parameters
    ----------
    device, source : str
    kind : CollectiveKind
    algorithm : str
        The library's, where the source states it.
    ranks : int
        The devices that take part.
    bytes : int
        As `tspsim.program.types.Message` counts them.
    seconds : float
    """

    device: str
    source: str
    kind: CollectiveKind
    algorithm: str
    ranks: int
    bytes: int
    seconds: float

    @property
    def bus_bandwidth(self) -> float:
        """Bytes/s through the busiest port of a switch, as nccl-tests counts them."""
        n = self.ranks
        share = {"all_reduce": 2 * (n - 1) / n, "shift": 1.0}.get(self.kind, (n - 1) / n)
        return share * self.bytes / self.seconds


@dataclass(frozen=True, slots=True)
class Rows:
    """Everything that the profiles are fitted to.

    Parameters
    ----------
    points, slower : tuple of Point
        Of the fastest kernels of a device; of attention's others, which stand beside them.
    calls : tuple of Call
    sources : dict of str to str
        Where the rows of a source stand and how they were read, by its name.
    """

    points: tuple[Point, ...]
    slower: tuple[Point, ...]
    calls: tuple[Call, ...]
    sources: dict[str, str]


def load(folder: Path) -> Rows:
    """Return the rows of a folder.

    Raises
    ------
    UserError
        When a table is missing or a row is of a source or a collective that is not known.
    """
    peaks = {row["device"]: float(row["peak_tflops"]) * 1e12 for row in table(folder, "devices")}
    devices = {name: _device(name) for name in names("topologies/devices")}
    tables = {name: dict(device.flop_rate) for name, device in devices.items()}
    # the published rows are bf16; a device without it (V100) has none
    peaks |= {name: rates["bf16"] for name, rates in tables.items() if "bf16" in rates}
    attention = table(folder, "attention")
    fastest = [row for row in attention if (row["device"], row["kernel"]) not in SLOWER]
    points = (
        *(_matmul(row, peaks) for row in table(folder, "matmul")),
        *(point for row in fastest for point in _attention(row, peaks)),
        *(_elementwise(row, devices) for row in table(folder, "elementwise")),
    )
    slower = tuple(p for row in attention if row not in fastest for p in _attention(row, peaks))
    made = calls(folder)
    sources = {name: _citation(entry) for name, entry in read(folder / "sources.yaml").items()}
    named = {point.source for point in points} | {call.source for call in made}
    if unknown := sorted(named - sources.keys()):
        raise UserError(f"{folder / 'sources.yaml'}: rows name {unknown}, which it does not have")
    return Rows(points, slower, made, sources)


def calls(folder: Path) -> tuple[Call, ...]:
    """Return the collective calls of a folder, on whatever they were measured.

    Raises
    ------
    UserError
        When the table is missing or a row is of a collective that is not known.
    """
    return tuple(_call(row) for row in table(folder, "collectives"))


def _device(name: str) -> Device:
    form: DeviceForm = TypeAdapter(DeviceField).validate_python(name)
    return form.value()


def _citation(entry: dict[str, str]) -> str:
    return f"{entry['url']}: {entry['about']}; read {entry['read']}"


def table(folder: Path, name: str) -> list[Row]:
    """Return the rows of a table of a folder.

    Raises
    ------
    UserError
        When it cannot be read.
    """
    try:
        with (folder / f"{name}.csv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"the published rows cannot be read: {error}") from None


def _matmul(row: Row, peaks: dict[str, float]) -> Point:
    m, n, k = (int(row[key]) for key in "mnk")
    efficiency = float(row["tflops"]) * 1e12 / peaks[row["device"]]
    size = 2.0 * m * n * k
    place = (float(m), float(n), float(k))
    return Point("matmul", row["device"], row["source"], row["source"], size, efficiency, place)


def _attention(row: Row, peaks: dict[str, float]) -> Iterator[Point]:
    """Yield a point per curve; a causal mask counts half of the square, as `Work` does."""
    efficiency = float(row["tflops"]) * 1e12 / peaks[row["device"]]
    label = row["kernel"] + (", causal" if row["causal"] == "1" else "")
    together = len(_CURVES[row["pass"]]) > 1
    label += ", both passes together" if together else ""
    forward, place = None, tuple[float, ...]()
    if row["sequence"]:
        batch, heads, s, d = (int(row[k]) for k in ("batch", "heads", "sequence", "head_dim"))
        square = s * s * (1 if row["causal"] == "1" else 2)
        forward, place = 2.0 * batch * heads * square * d, (batch * heads, math.sqrt(square), 1, d)
    for curve, factor in _CURVES[row["pass"]]:
        size = None if forward is None else factor * forward
        yield Point(
            curve, row["device"], row["source"], label, size, efficiency, place, together
        )  # fmt: skip


def _elementwise(row: Row, devices: dict[str, Device]) -> Point:
    moved = int(row["rows"]) * int(row["width"]) * int(row["arrays"]) * int(row["itemsize"])
    rate = float(row["gigabytes_per_second"]) * 1e9
    efficiency = rate / devices[row["device"]].memory_bandwidth
    label = row["op"].replace("_", " ")
    return Point("elementwise", row["device"], row["source"], label, float(moved), efficiency)


def _call(row: Row) -> Call:
    kinds: dict[str, CollectiveKind] = {kind: kind for kind in get_args(CollectiveKind)}
    if row["collective"] not in kinds:
        raise UserError(f"collectives.csv: no collective '{row['collective']}' is known")
    return Call(
        row["device"], row["source"], kinds[row["collective"]], row["algorithm"],
        int(row["ranks"]), int(row["bytes"]), float(row["time_us"]) * 1e-6,
    )  # fmt: skip
