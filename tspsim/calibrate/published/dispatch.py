"""Measured dispatches of tokens to experts and their combines, beside simulated all-to-alls.

Nothing is fitted to them: the profiles' all-to-alls are NCCL's.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import median

from tspsim.calibrate.published.rows import table as read_table
from tspsim.collectives.curve import curve
from tspsim.files.shipped import shipped
from tspsim.topology.graph import Topology
from tspsim.topology.load import load_file, parse_profile

#: Node and profile of a device.
_NODES = {
    "h800-sxm": ("h800-node", "h100-published"), "h100-sxm": ("h100-node", "h100-published"),
    "h200-sxm": ("h200-node", "h200-published"), "b200-sxm": ("b200-node", "b200-published"),
    "gb200": ("gb200-nvl72", "gb200-published"),
}  # fmt: skip

#: The algorithms that do an all-to-all inside a node.
ALGORITHMS = ("direct", "pairwise")

#: Below it and from it on errors are stated apart: what a training step sends is larger.
LARGE = 2**24


@dataclass(frozen=True, slots=True)
class Dispatch:
    """One call.

    Parameters
    ----------
    device : str
    ranks : int
    mode, phase : str
        Which of the library's kernels, and ``dispatch`` or ``combine``.
    bytes : int
        What a rank holds before: all that it sends, and its own part.
    seconds : float
    """

    device: str
    ranks: int
    mode: str
    phase: str
    bytes: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Group:
    """The calls of one kernel on one device, and their deviations by algorithm.

    Parameters
    ----------
    calls : tuple of Dispatch
    deviations : dict of str to tuple of float
        Predicted / measured time, less 1.
    """

    calls: tuple[Dispatch, ...]
    deviations: dict[str, tuple[float, ...]]


def calls() -> tuple[Dispatch, ...]:
    """Return the published calls, in the order of the file."""
    return tuple(
        Dispatch(
            row["device"], int(row["ranks"]), row["mode"], row["phase"], int(row["bytes"]),
            float(row["time_us"]) * 1e-6,
        )
        for row in read_table(shipped("published"), "dispatch")
    )  # fmt: skip


@cache
def groups() -> tuple[Group, ...]:
    """Return the calls of every kernel and device, small ones before large ones."""
    kernel = groupby(calls(), lambda c: (c.device, c.mode, c.phase, c.bytes >= LARGE))
    return tuple(_group(tuple(found)) for _, found in kernel)


def _group(made: tuple[Dispatch, ...]) -> Group:
    node, profile = _NODES[made[0].device]
    place = load_file(node, parse_profile(profile))
    return Group(made, {name: _deviations(made, place, name) for name in ALGORITHMS})


def _deviations(made: tuple[Dispatch, ...], place: Topology, name: str) -> tuple[float, ...]:
    ranks = tuple(range(made[0].ranks))
    points = curve("all_to_all", [call.bytes for call in made], ranks, place, name)
    return tuple(p.time / call.seconds - 1 for p, call in zip(points, made, strict=True))


def table() -> str:
    """Return how far the algorithms are off: median with its sign, and of the sizes."""
    heads = "".join(f" {name:>9} {'size':>6}" for name in ALGORITHMS)
    lines = [f"{'':40} {'rows':>4} {'from':>8}{heads}"]
    for group in groups():
        first = group.calls[0]
        name = f"{first.device}, {first.ranks} ranks, {first.mode}, {first.phase}"
        figures = "".join(
            f" {median(off):>+9.0%} {median(map(abs, off)):>6.0%}"
            for off in group.deviations.values()
        )
        size = f"{first.bytes / 2**20:.1f} MiB"
        lines.append(f"{name:40} {len(group.calls):>4} {size:>9}{figures}")
    return "\n".join(lines) + "\n"
